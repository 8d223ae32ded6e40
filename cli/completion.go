package cli

import (
	"embed"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is `inturn completion`. The scripts hold no list of commands: at each Tab
// they ask the program that is being completed, so they never are of another version.
type Completion struct {
	Bash       CompletionBash       `cmd:"" help:"Print the script for bash: source <(inturn completion bash)."`
	Zsh        CompletionZsh        `cmd:"" help:"Print the script for zsh, after compinit: source <(inturn completion zsh)."`
	Fish       CompletionFish       `cmd:"" help:"Print the script for fish: inturn completion fish | source."`
	Candidates CompletionCandidates `cmd:"" hidden:"" help:"Print what may stand in the place of the last word. The scripts call it."`
}

type (
	// CompletionBash is `inturn completion bash`.
	CompletionBash struct{}
	// CompletionZsh is `inturn completion zsh`.
	CompletionZsh struct{}
	// CompletionFish is `inturn completion fish`.
	CompletionFish struct{}
)

// completionScripts are the scripts of the shells.
//
//go:embed completion/*
var completionScripts embed.FS

func printScript(out IO, name string) error {
	script, err := completionScripts.ReadFile("completion/" + name)
	if err == nil {
		_, err = out.Out.Write(script)
	}
	return err
}

// Run prints the script.
func (CompletionBash) Run(out IO) error { return printScript(out, "inturn.bash") }

// Run prints the script.
func (CompletionZsh) Run(out IO) error { return printScript(out, "inturn.zsh") }

// Run prints the script.
func (CompletionFish) Run(out IO) error { return printScript(out, "inturn.fish") }

// CompletionCandidates is `inturn completion candidates -- WORD…`.
type CompletionCandidates struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The words after the program's name. The last one is completed, and may be empty."`
}

// acceptsEmpty says that an empty word is no slip.
func (CompletionCandidates) acceptsEmpty() {}

// Run prints a candidate a line, with a tab and what it is for. It prints nothing where
// a file or any other text may stand.
func (c CompletionCandidates) Run(out IO, parser *kong.Kong) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, found := range candidates(parser.Model.Node, words) {
		if _, err := fmt.Fprintf(out.Out, "%s\t%s\n", found.word, found.help); err != nil {
			return err
		}
	}
	return nil
}

// candidate is a word that may stand at a place.
type candidate struct{ word, help string }

// candidates returns what may stand in the place of the last of words, below node.
func candidates(node *kong.Node, words []string) (all []candidate) {
	last := ""
	if len(words) > 0 {
		words, last = words[:len(words)-1], words[len(words)-1]
	}
	var open *kong.Flag // waits for its value
	for _, word := range words {
		switch child := childOf(node, word); {
		case word == "=" && open != nil: // bash takes --flag=value apart
		case open != nil:
			open = nil
		case strings.HasPrefix(word, "-"):
			open = flagOf(node, word)
		case child != nil:
			node = child
		}
	}
	name, begun, joined := strings.Cut(last, "=")
	switch {
	case open != nil && last == "=":
		return values(open, "", "")
	case open != nil:
		return values(open, "", last)
	case joined && strings.HasPrefix(name, "--"):
		if f := findFlag(node, name); f != nil {
			return values(f, name+"=", begun)
		}
	case strings.HasPrefix(last, "-"):
		for _, flag := range flagsOf(node) {
			all = appendBegun(all, last, "--"+flag.Name, flag.Help)
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				all = appendBegun(all, last, child.Name, child.Help)
			}
		}
	}
	return all
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flagsOf returns the flags that may stand after node.
func flagsOf(node *kong.Node) (all []*kong.Flag) {
	for _, group := range node.AllFlags(true) {
		all = append(all, group...)
	}
	return all
}

func findFlag(node *kong.Node, word string) *kong.Flag {
	for _, flag := range flagsOf(node) {
		if word == "--"+flag.Name {
			return flag
		}
	}
	return nil
}

// flagOf returns the flag that word names if its value is the next word.
func flagOf(node *kong.Node, word string) *kong.Flag {
	if flag := findFlag(node, word); flag != nil && !flag.IsBool() {
		return flag
	}
	return nil
}

// values returns what may be given to a flag, each after prefix.
func values(flag *kong.Flag, prefix, begun string) (all []candidate) {
	for _, value := range flag.EnumSlice() {
		if value != "" {
			all = appendBegun(all, prefix+begun, prefix+value, "")
		}
	}
	return all
}

func appendBegun(all []candidate, begun, word, help string) []candidate {
	if !strings.HasPrefix(word, begun) {
		return all
	}
	help, _, _ = strings.Cut(help, "\n")
	return append(all, candidate{word, help})
}
