package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Man is `inturn man`, which `make man` calls: it writes the manual pages (man-pages(7)) of all
// commands.
type Man struct {
	Dir string `arg:"" help:"Folder for the pages; it is made."`
}

// Run writes inturn.1 and a page for each command, such as inturn-accounts-list.1.
func (m Man) Run(parser *kong.Kong, build Build) error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return fmt.Errorf("man: %w", err)
	}
	pages := []*kong.Node{parser.Model.Node}
	for i := 0; i < len(pages); i++ { // it grows meanwhile
		pages = slices.Insert(pages, i+1, shownBelow(pages[i])...)
	}
	for _, node := range pages {
		name := pageName(node)
		if err := os.WriteFile(filepath.Join(m.Dir, name+".1"), []byte(manPage(node, build.Version)), 0o644); err != nil {
			return fmt.Errorf("man: %w", err)
		}
	}
	return nil
}

// shownBelow returns the commands of node that help shows.
func shownBelow(node *kong.Node) (list []*kong.Node) {
	for _, child := range node.Children {
		if !child.Hidden && child.Type == kong.CommandNode {
			list = append(list, child)
		}
	}
	return list
}

// pageName returns the name of a command's page.
func pageName(node *kong.Node) string {
	if node.Parent == nil {
		return node.Name
	}
	return pageName(node.Parent) + "-" + node.Name
}

// manPage returns the page of one command in roff's man macros.
func manPage(node *kong.Node, version string) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	name := pageName(node)
	say(`.TH %s 1 "" "inturn %s" "inturn"`, strings.ToUpper(roff(name)), roff(version))
	say(".SH NAME\n%s \\- %s", roff(name), roff(strings.TrimSuffix(node.Help, ".")))
	say(".SH SYNOPSIS\n.B %s", roff(strings.ReplaceAll(node.FullPath(), "  ", " ")))
	for _, p := range node.Positional {
		say("%s", roff(p.Summary()))
	}
	if node.Detail != "" {
		say(".SH DESCRIPTION\n%s", roff(node.Detail))
	}
	if len(node.Positional) > 0 {
		say(".SH ARGUMENTS")
		for _, p := range node.Positional {
			say(".TP\n.I %s\n%s", roff(p.Name), roff(p.Help))
		}
	}
	if children := shownBelow(node); len(children) > 0 {
		say(".SH COMMANDS")
		for _, child := range children {
			say(".TP\n.BR %s (1)\n%s", roff(pageName(child)), roff(child.Help))
		}
	}
	flags := slices.DeleteFunc(slices.Clone(node.Flags), func(f *kong.Flag) bool { return f.Hidden })
	if len(flags) > 0 {
		say(".SH OPTIONS")
		for _, f := range flags {
			say(".TP\n.B %s\n%s", roff(f.String()), roff(f.Help))
			if len(f.Envs) > 0 {
				say("Environment: %s.", roff(strings.Join(f.Envs, ", ")))
			}
		}
	}
	if node.Parent != nil {
		say(".SH SEE ALSO\n.BR %s (1)", roff(pageName(node.Parent)))
	}
	return b.String()
}

// roff escapes a text: backslashes, hyphens that are to be typed, and what at the begin of a
// line would be a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(strings.TrimSpace(text))
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
