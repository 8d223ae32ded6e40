package browser

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The page as a person meets it: one server and one browser, as each takes seconds to begin.
func TestPage(t *testing.T) {
	s := open(t)
	s.post(nasty, "1<i>", "fails", `{"html":"<script>window.hurt=1</script>","esc":"\u001b[2J\u202e"}`)
	s.post("gone", "1", "rejects", `{}`)
	s.post("gone", "2", "rejects", `{}`)
	s.until("/v1/accounts?state=parked", "parked")
	s.until("/v1/dead", `"gone","message_id":"2"`)
	s.load()
	s.until("/v1/events?client_id=load-1&state=done", "done")
	id := url.Values{"client_id": {nasty}}.Encode()
	views := []struct{ name, path, text string }{
		{"overview", "/", "accepted a second"}, {"accounts", "/accounts?sort=pending", "last error"}, {"account", "/account?" + id, "held"},
		{"events", "/events", "load-"}, {"event", "/event?message_id=1%3Ci%3E&" + id, "As it was stored"}, {"dead", "/dead", "Run the selected again"},
		{"audit", "/audit", "operator"}, {"sql", "/sql", "outbox"}, {"problem", "/account?client_id=nobody", "never sent"},
	}
	for i := range views {
		if views[i].name == "account" {
			views[i].text = "parked"
		}
	}
	for _, sub := range []struct {
		name string
		test func(*site)
	}{
		{"accessible", func(s *site) {
			for _, v := range views {
				s.goTo(v.path, v.text)
				for _, colours := range []string{"light", "dark"} {
					s.theme(colours)
					s.axe(v.name + ", " + colours)
				}
			}
		}},
		{"on a telephone", func(s *site) {
			s.run(chromedp.EmulateViewport(390, 844))
			for _, v := range views {
				s.goTo(v.path, v.text)
				if wide := value(s, chromedp.Evaluate[int]("document.documentElement.scrollWidth")); wide > 390 {
					s.t.Errorf("%s is %d wide", v.name, wide)
				}
				for _, colours := range []string{"light", "dark"} {
					s.theme(colours)
					s.picture(v.name + "-390-" + colours)
				}
			}
			s.run(chromedp.EmulateViewport(1280, 800))
			for _, v := range views {
				s.goTo(v.path, v.text)
				s.picture(v.name + "-1280-dark")
			}
			s.theme("light")
		}},
		{"without scripts", func(s *site) {
			s.scripts(false)
			for _, v := range views {
				s.run(chromedp.Navigate(s.base + v.path))
				if text := value(s, chromedp.Text(chromedp.CSS("body"))); !strings.Contains(text, v.text) {
					s.t.Errorf("%s: no %q in %s", v.name, v.text, text)
				}
			}
			s.scripts(true)
		}},
		{"text is text", func(s *site) {
			for _, v := range views {
				s.goTo(v.path, v.text)
				if v.name == "account" || v.name == "event" {
					s.see(`<img src=x onerror=window.hurt=1>&"'é`)
				}
			}
			s.goTo("/event?message_id=1%3Ci%3E&"+id, `<script>window.hurt=1</script>`)
			s.see(`\u001b[2J`)
			s.goTo("/account?"+id, `\u001b[2J\u202e`)
			if value(s, chromedp.Evaluate[bool]("'hurt' in window || document.querySelectorAll('main img, main script').length > 0")) {
				s.t.Error("what a client sent has become markup")
			}
		}},
		{"moves", func(s *site) {
			s.goTo("/", "accepted a second")
			s.run(chromedp.Poll[chromedp.Void]("Number(document.documentElement.dataset.updated) >= 2", chromedp.WithPollingTimeout(patience)))
			s.goTo("/account?client_id=late", "never sent")
			s.post("late", "1", "fails", `{}`)
			s.until("/v1/accounts/late", "parked")
			s.goTo("/account?client_id=late", "parked")
			s.post("late", "second", "work", `{"ms":0}`)
			s.see("second") // without being asked for again
		}},
		{"verbs by click", verbsByClick},
		{"verbs by keyboard", verbsByKeyboard},
	} {
		t.Run(sub.name, func(t *testing.T) {
			begin := time.Now()
			s.t = t
			sub.test(s)
			s.quiet()
			t.Log(time.Since(begin).Round(time.Millisecond))
		})
	}
	s.t = t
}

// axe fails the test for what axe finds serious or critical.
func (s *site) axe(where string) {
	s.t.Helper()
	text, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		if os.Getenv("INTURN_NEED") != "" {
			s.t.Fatal(err)
		}
		s.t.Skip("npm ci has not been run")
	}
	if !value(s, chromedp.Evaluate[bool]("typeof window.axe === 'object'")) {
		s.run(chromedp.Evaluate[chromedp.Void](string(text)))
	}
	found := value(s, chromedp.Evaluate[string](`axe.run({resultTypes:["violations"]}).then(r => JSON.stringify(r.violations.filter(v => v.impact === "serious" || v.impact === "critical").map(v => ({id: v.id, nodes: v.nodes.map(n => n.html.slice(0, 200) + " " + n.failureSummary)}))))`, chromedp.EvalAwaitPromise))
	var violations []struct {
		ID    string   `json:"id"`
		Nodes []string `json:"nodes"`
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		s.t.Fatal(err, found)
	}
	for _, v := range violations {
		s.t.Errorf("%s: %s: %s", where, v.ID, strings.Join(v.Nodes, "\n"))
	}
}

// form returns a selector within the form that has a button with this value.
func form(verb, field string) chromedp.CSS {
	return chromedp.CSS(fmt.Sprintf(`form:has(button[value="%s"]) %s`, verb, field))
}

func verbsByClick(s *site) {
	s.post("clicked", "1", "fails", `{}`)
	s.post("clicked", "2", "fails", `{}`)
	s.post("clicked", "3", "work", `{"ms":1}`)
	s.until("/v1/accounts/clicked", "parked")
	account := "/account?client_id=clicked"
	act := func(path, shown, verb string, more ...step) { // as a person does it: the reason, then the button
		s.t.Helper()
		s.goTo(path, shown)
		s.run(chromedp.SendKeys(form(verb, `input[name="reason"]`), "clicked "+verb))
		s.run(append(more, chromedp.Click(form(verb, `button[value="`+verb+`"]`)))...)
	}
	seq := s.head("clicked")
	act(account, "parked", "pause")
	s.see("Done: pause account clicked")
	act(account, "paused", "resume")
	s.see("Done: resume account clicked")
	act(account, "parked", "retry")
	s.see("Done: retry seq " + seq)
	s.until("/v1/accounts/clicked", "parked")
	act(account, "parked", "skip")
	s.see("Done: skip seq " + seq)
	s.until("/v1/accounts/clicked", "parked") // by the second
	act(account, "parked", "skip")
	s.see("Done: skip")
	s.until("/v1/accounts/clicked", "idle")
	act("/dead?client_id=clicked", "clicked skip", "redrive", chromedp.Click(chromedp.CSS(`input[name="selected"][value="`+seq+`"]`)))
	s.see("1 of them")
	s.until("/v1/accounts/clicked", "parked")
	s.goTo("/event?client_id=clicked&message_id=1", "pending")
	s.run(chromedp.SendKeys(form("cancel", `input[name="reason"]`), "clicked cancel"), chromedp.Click(chromedp.CSS(`button[value="cancel"]`)))
	s.see("Done: cancel event 1 of clicked")
	act(account, "idle", "replay")
	s.see("would run again")
	s.run(chromedp.Click(chromedp.CSS(`button[value="replay"]`)))
	s.see("Done: replay account clicked")
	s.goTo("/dead", "Run many again")
	s.run(chromedp.SendKeys(chromedp.CSS(`fieldset input[name="reason"]`), "clicked bulk"), chromedp.Click(chromedp.CSS(`fieldset button`)))
	s.see("would run again")
	s.goTo("/audit?client_id=clicked", "clicked replay")
	for _, verb := range []string{"pause", "resume", "retry", "skip", "redrive", "cancel", "replay"} {
		s.see("clicked " + verb)
	}
	s.goTo(account, "Erase everything")
	s.run(chromedp.SendKeys(form("erase", `input[name="typed"]`), "clickd"), chromedp.SendKeys(form("erase", `input[name="reason"]`), "no"), chromedp.Click(chromedp.CSS(`button[value="erase"]`)))
	s.see("nothing was done")
	s.goTo(account, "Erase everything")
	s.run(chromedp.SendKeys(form("erase", `input[name="typed"]`), "clicked"), chromedp.SendKeys(form("erase", `input[name="reason"]`), "clicked erase"), chromedp.Click(chromedp.CSS(`button[value="erase"]`)))
	s.see("Done: erase account clicked")
	s.goTo("/audit?verb=erase", "clicked erase")
}

// head returns the seq of an account's head.
func (s *site) head(clientID string) string {
	s.t.Helper()
	s.goTo("/account?client_id="+clientID, "head")
	return value(s, chromedp.Text(chromedp.CSS("li.head a")))
}

// verbsByKeyboard does all with keys alone, from the first page on.
func verbsByKeyboard(s *site) {
	s.post("typed", "1", "fails", `{}`)
	s.until("/v1/accounts/typed", "parked")
	s.goTo("/", "accepted a second")
	s.run(press("g"), press("a"))
	s.see("last error")
	s.run(chromedp.Poll[chromedp.Void](`document.activeElement.name === "client_id"`), press("typed"+kb.Enter))
	s.see("Account typed")
	// To a field or button, by Tab alone.
	reach := func(what string) {
		s.t.Helper()
		for range 80 {
			s.run(press(kb.Tab))
			if value(s, chromedp.Evaluate[bool](`!!document.activeElement.closest('`+what+`')`)) {
				if value(s, chromedp.Evaluate[string](`getComputedStyle(document.activeElement).outlineStyle`)) == "none" {
					s.t.Errorf("%s has the focus, and doesn't show it", what)
				}
				return
			}
		}
		s.t.Fatalf("no %s is reached", what)
	}
	reach(`input[name="reason"]`)
	s.run(press("typed pause"))
	reach(`button[value="pause"]`)
	s.run(press(" "))
	s.see("Done: pause account typed")
	s.run(press(kb.Enter)) // Back has the focus
	s.see("Account typed")
	reach(`input[name="reason"]`)
	s.run(press("typed skip"))
	reach(`button[value="skip"]`)
	s.run(press(kb.Enter))
	s.see("Done: skip")
	s.run(press("g"), press("u"))
	s.see("typed skip")
	s.see("typed pause")
	s.run(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`), press("g"), press("s"))
	s.see("Tables and views")
}
