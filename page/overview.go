package page

import (
	"net/http"
	"strings"
	"time"
)

// status is the answer of GET /v1/status.
type status struct {
	At        time.Time `json:"at"`
	Ready     bool      `json:"ready"`
	Pending   int64     `json:"pending"`
	Scheduled int64     `json:"scheduled"`
	Dead      int64     `json:"dead"`
	Waiting   int64     `json:"waiting"`
	Running   int64     `json:"running"`
	Retrying  int64     `json:"retrying"`
	Parked    int64     `json:"parked"`
	Stuck     int64     `json:"stuck"`
	Paused    int64     `json:"paused"`
	Rates     struct {
		Accepted float64 `json:"accepted"`
		Done     float64 `json:"done"`
	} `json:"rates"`
	Oldest struct {
		ReceivedAt time.Time `json:"received_at"`
		AgeSeconds float64   `json:"age_seconds"`
	} `json:"oldest"`
	Endpoints []struct {
		Type  string `json:"type"`
		State string `json:"state"`
	} `json:"endpoints"`
	Storage struct {
		FileBytes int64 `json:"file_bytes"`
		WALBytes  int64 `json:"wal_bytes"`
		DiskFree  int64 `json:"disk_free_bytes"`
		DiskSize  int64 `json:"disk_size_bytes"`
	} `json:"storage"`
	Commits struct {
		PerSecond    float64 `json:"per_second"`
		Operations   float64 `json:"operations"`
		Milliseconds float64 `json:"milliseconds"`
	} `json:"commits"`
	CertificateEndsAt time.Time `json:"certificate_ends_at"`
	Warnings          []string  `json:"warnings"`
}

// typeOf is an entry of GET /v1/types.
type typeOf struct {
	Type     string    `json:"type"`
	Paused   bool      `json:"paused"`
	Since    time.Time `json:"since"`
	Who      string    `json:"who"`
	Reason   string    `json:"reason"`
	Function *bool     `json:"function"`
	Waiting  int64     `json:"waiting"`
}

// overviewData is what the overview shows; its first part moves.
type overviewData struct {
	Status status
	Plots  []plot
	Token  tokenInfo
	Live   string

	Paused bool // everything is
	Since  time.Time
	Reason string
	Types  []typeOf
	Key    string // of the verbs on the page
}

// warning is what a person should look at, and where the run-book says what to do.
type warning struct{ Text, Section string }

// sections are the run-book's, by a word of the warnings that lead there.
var sections = []struct{ word, section string }{
	{"parked", "Parked accounts"}, {"stuck", "Stuck accounts"}, {"endpoint", "Endpoint down"}, {"disk", "Disk"}, {"certificate", "Certificate"}, {"refused", "Refusals"},
}

// Warned returns the warnings with the run-book's sections.
func (s status) Warned() (all []warning) {
	for _, text := range s.Warnings {
		w := warning{Text: text}
		for _, known := range sections {
			if strings.Contains(text, known.word) {
				w.Section = known.section
				break
			}
		}
		all = append(all, w)
	}
	return all
}

func (v *visit) moving() (d overviewData, err error) {
	d.Token, d.Live, d.Plots = v.info, "/live?view=overview", v.page.history.plots()
	return d, v.get("/v1/status", nil, &d.Status)
}

// overview is GET /. A token for some accounts only has no overview, and begins with its first account.
func (p *Page) overview(v *visit) error {
	if len(v.info.ClientIDs) > 0 {
		http.Redirect(v.w, v.r, link("/account", "client_id", v.info.ClientIDs[0]), http.StatusSeeOther)
		return nil
	}
	d, err := v.moving()
	if err != nil {
		return err
	}
	var types struct {
		Paused bool      `json:"paused"`
		Since  time.Time `json:"since"`
		Reason string    `json:"reason"`
		Types  []typeOf  `json:"types"`
	}
	if err := v.get("/v1/types", nil, &types); err != nil {
		return err
	}
	d.Paused, d.Since, d.Reason, d.Types, d.Key = types.Paused, types.Since, types.Reason, types.Types, newKey()
	return v.show(http.StatusOK, "overview", "Overview", d)
}
