package serve

import (
	"testing"
)

func TestServeSaysWhatIsWrongWithAFunction(t *testing.T) {
	t.Parallel()
	const usage = "see `inturn serve --help`"
	const key = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, c := range []refused{
		{name: "no URL", args: []string{"serve", "--function", "order"}, status: 2, says: `serve: --function: function 1: must be TYPE=URL.+`, hint: usage},
		{name: "a password", args: []string{"serve", "--function", "order=https://me:hidden@x.example/"}, status: 2, says: `serve: --function: function "order": its URL must not have a user or password.+`, hint: usage},
		{name: "plain http", args: []string{"serve", "--function", "order=http://x.example/?key=hidden"}, status: 2, says: `serve: --function: function "order": plain http:// [^?]+--insecure-functions`, hint: usage},
		{name: "a private address", args: []string{"serve", "--function", "order=https://10.0.0.1/"}, status: 2, says: `serve: --function: function "order": the address 10\.0\.0\.1 is private.+--insecure-functions.+`, hint: usage},
		{name: "from the environment", env: []string{"INTURN_FUNCTION=order=https://x.example order=https://y.example"}, args: []string{"serve"}, status: 2, says: `serve: --function: function "order": is given twice`, hint: usage},
		{name: "no time", args: []string{"serve", "--function", "order=https://x.example/", "--function-timeout", "0s"}, status: 2, says: `serve: --function-max-concurrent .+`, hint: usage},
		{name: "no secret", args: []string{"serve", "--function", "order=https://x.example/?key=hidden"}, status: 1,
			says: `serve: --function: function "order": its endpoint https://x\.example is beyond loopback, and there is no secret to sign with`, hint: `set INTURN_FUNCTION_SECRET.+`},
		{name: "a secret of another", env: []string{"INTURN_FUNCTION_SECRET_PAY=" + key}, args: []string{"serve", "--function", "order=https://x.example/"}, status: 1,
			says: `serve: INTURN_FUNCTION_SECRET_PAY: there is no --function of this type`},
		{name: "a secret that is none", env: []string{"INTURN_FUNCTION_SECRET=hidden"}, args: []string{"serve", "--function", "order=https://x.example/"}, status: 1,
			says: `serve: INTURN_FUNCTION_SECRET: secret 1 must be whsec_[^h]+`},
		{name: "a type that is built in", env: []string{"INTURN_FUNCTION_SECRET=" + key}, args: []string{"serve", "--function", "message=https://x.example/"}, status: 1,
			says: `serve: --function: the type "message" is built in: choose another name`},
	} {
		c.run(t, t.TempDir())
	}
}
