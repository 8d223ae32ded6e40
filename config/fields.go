package config

// file is the fields of the file as they are written. From these types the schema is made,
// and by these the file is read: each name is here and nowhere else.
type file struct {
	Functions []function `yaml:"functions,omitempty" jsonschema:"maxItems=1000" jsonschema_description:"Endpoints that run events: each event of the type is POSTed to the URL."`
	Schedules []schedule `yaml:"schedules,omitempty" jsonschema:"maxItems=1000" jsonschema_description:"Events that are made at times."`
	Hooks     []webhook  `yaml:"hooks,omitempty" jsonschema:"maxItems=1000" jsonschema_description:"Paths for the signed webhooks of other products."`
}

type function struct {
	Type          string  `yaml:"type" jsonschema:"minLength=1,maxLength=256,example=greet" jsonschema_description:"The type of the events, which no other function runs."`
	URL           string  `yaml:"url" jsonschema:"format=uri,example=https://example.com/greet" jsonschema_description:"Where the events are POSTed. http:// is for loopback."`
	SecretEnv     string  `yaml:"secret_env,omitempty" jsonschema:"pattern=^[A-Za-z_][A-Za-z0-9_]*$,example=GREET_SECRET" jsonschema_description:"The variable that has the secrets to sign with: 1 to 4, each whsec_ and base64, one a line."`
	SecretFile    string  `yaml:"secret_file,omitempty" jsonschema:"minLength=1" jsonschema_description:"The file that has the secrets, from the folder of this one."`
	MaxConcurrent int     `yaml:"max_concurrent,omitempty" jsonschema:"minimum=1,maximum=100000,default=64" jsonschema_description:"Calls at the same time."`
	Timeout       string  `yaml:"timeout,omitempty" jsonschema:"pattern=^([0-9.]+(ms|s|m|h))+$,default=30s" jsonschema_description:"How long a call may take, at most 1h."`
	Policy        *policy `yaml:"policy,omitempty" jsonschema_description:"What follows a call that failed."`
	Rate          string  `yaml:"rate,omitempty" jsonschema:"pattern=^[0-9]+/[smh]$,example=100/s" jsonschema_description:"Calls to the endpoint: so many in a second, minute or hour. Events wait for their turn, which is no attempt."`
}

type policy struct {
	Attempts       *int     `yaml:"attempts,omitempty" jsonschema:"minimum=1,maximum=1000000,default=20" jsonschema_description:"How often an event is tried."`
	InitialBackoff string   `yaml:"initial_backoff,omitempty" jsonschema:"pattern=^([0-9.]+(ms|s|m|h))+$,default=1s" jsonschema_description:"The wait after the first failure."`
	MaxBackoff     string   `yaml:"max_backoff,omitempty" jsonschema:"pattern=^([0-9.]+(ms|s|m|h))+$,default=5m" jsonschema_description:"The longest wait."`
	Multiplier     *float64 `yaml:"multiplier,omitempty" jsonschema:"minimum=1,maximum=1000,default=2" jsonschema_description:"The factor by which the wait grows."`
	Jitter         *float64 `yaml:"jitter,omitempty" jsonschema:"minimum=0,maximum=1,default=0.5" jsonschema_description:"The part of a wait that is random."`
	Exhausted      string   `yaml:"exhausted,omitempty" jsonschema:"enum=park,enum=dead,default=park" jsonschema_description:"After the last attempt: the account waits for a person (park), or the event is set aside (dead)."`
}

type schedule struct {
	Name     string `yaml:"name" jsonschema:"minLength=1,maxLength=200,pattern=^[^@]+$,example=nightly" jsonschema_description:"Unique. With @ and the time in UTC it is the message_id."`
	Cron     string `yaml:"cron" jsonschema:"minLength=1,example=0 3 * * *,example=@every 10m" jsonschema_description:"Minute, hour, day, month and weekday, or @every and a duration."`
	Timezone string `yaml:"timezone,omitempty" jsonschema:"minLength=1,default=UTC,example=Europe/Berlin" jsonschema_description:"A name of the IANA database."`
	ClientID string `yaml:"client_id" jsonschema:"minLength=1,maxLength=256,example=reports" jsonschema_description:"The account of the events."`
	Type     string `yaml:"type" jsonschema:"minLength=1,maxLength=256,example=report" jsonschema_description:"The type of the events, which a function must run."`
	Payload  value  `yaml:"payload" jsonschema_description:"The payload of the events: any JSON."`
	Missed   string `yaml:"missed,omitempty" jsonschema:"enum=none,enum=last,enum=all,default=last" jsonschema_description:"What is made up for after a stop."`
}

type webhook struct {
	Path       string `yaml:"path" jsonschema:"pattern=/\\{client_id\\}(/|$),maxLength=256,example=/hooks/github/{client_id}" jsonschema_description:"Where the product sends to. {client_id} is the account of the events."`
	Verify     string `yaml:"verify" jsonschema:"enum=github,enum=hmac-sha256,enum=shopify,enum=slack,enum=standard-webhooks,enum=stripe,enum=telegram" jsonschema_description:"The product, and so how it signs."`
	SecretEnv  string `yaml:"secret_env,omitempty" jsonschema:"pattern=^[A-Za-z_][A-Za-z0-9_]*$,example=GITHUB_SECRET" jsonschema_description:"The variable that has the secrets, 1 to 4, one a line."`
	SecretFile string `yaml:"secret_file,omitempty" jsonschema:"minLength=1" jsonschema_description:"The file that has the secrets, from the folder of this one."`
	Type       string `yaml:"type" jsonschema:"minLength=1,maxLength=256,example=github" jsonschema_description:"The type of the events, which a function must run."`
	MessageID  string `yaml:"message_id,omitempty" jsonschema:"pattern=^(header .+|/.*)$,example=header X-GitHub-Delivery,example=/data/id" jsonschema_description:"Where the product's id of a delivery is: header and its name, or a JSON Pointer into the body. Every product but hmac-sha256 has a usual place."`
	Header     string `yaml:"header,omitempty" jsonschema:"example=X-Signature" jsonschema_description:"Of hmac-sha256: the header that has the signature of the body."`
	Encoding   string `yaml:"encoding,omitempty" jsonschema:"enum=hex,enum=base64" jsonschema_description:"Of hmac-sha256: how the signature is written."`
	Prefix     string `yaml:"prefix,omitempty" jsonschema:"example=sha256=" jsonschema_description:"Of hmac-sha256: what stands before the signature."`
}
