package api

import (
	"encoding/json"
	"net/url"
	"testing"
)

// What is accepted under an id is found under it, by every path.
func TestEveryIDHasAPath(t *testing.T) {
	for _, id := range []string{"/", "//", "a/b", "/a", "a/", "a//b", "a/../b", "./a", "...", "%", "%2F", "%252F", "a?b", "a#b", "ä €", " ", "a+b", `"`, `\`, "{x}", "pause", "a;b", "&"} {
		s := &fakeStore{}
		h := newAPI(t, Options{Store: s})
		quoted, _ := json.Marshal(id)
		w := request(h, "POST", "/v1/events", `{"client_id":`+string(quoted)+`,"message_id":`+string(quoted)+`,"type":"any","payload":1}`)
		if w.Code != 202 {
			t.Errorf("%q: %d %s", id, w.Code, w.Body)
			continue
		}
		path := url.PathEscape(id)
		if want := "/v1/events/" + path + "/" + path; w.Header().Get("Location") != want {
			t.Errorf("%q: Location %s, want %s", id, w.Header().Get("Location"), want)
		}
		for _, target := range []string{"/v1/events/" + path + "/" + path, "/v1/events/" + path + "/" + path + "/runs"} {
			if w := request(h, "GET", target, ""); w.Code != 200 {
				t.Errorf("GET %s: %d %s", target, w.Code, w.Body)
			}
		}
		if w := request(h, "POST", "/v1/accounts/"+path+"/pause", ""); w.Code != 200 || s.acts[0].ClientID != id {
			t.Errorf("pause of %q: %d %s", id, w.Code, w.Body)
		}
	}
}
