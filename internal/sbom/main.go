// Command sbom writes the software bill of materials of a Go program: the modules that
// the Go compiler recorded in it, in the JSON form of
// CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).
//
//	sbom -version VERSION PROGRAM >FILE
//
// The same program gives the same bytes. The program is read and not run, so it may be one
// for another system.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// bom is the document. The field's names are the specification's.
type bom struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component  component  `json:"component"`
	Properties []property `json:"properties,omitempty"`
}

type component struct {
	Ref     string `json:"bom-ref"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Scope   string `json:"scope,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
	PURL    string `json:"purl"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

func main() {
	version := flag.String("version", "", "version of the program")
	flag.Parse()
	if *version == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "sbom: want -version VERSION PROGRAM")
		os.Exit(2)
	}
	if err := write(os.Stdout, flag.Arg(0), *version); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// write writes the document for the program in file.
func write(w io.Writer, file, version string) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	doc, err := describe(info, filepath.Base(file), version)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// describe returns the document of a program that was compiled as info says.
func describe(info *debug.BuildInfo, name, version string) (bom, error) {
	own := library(info.Main.Path, version)
	own.Type, own.Scope = "application", ""
	doc := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata: metadata{Component: own, Properties: []property{{"inturn:file", name}}},
	}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" {
			doc.Metadata.Properties = append(doc.Metadata.Properties, property{"inturn:build:" + s.Key, s.Value})
		}
	}
	doc.Components = append(doc.Components, library("std", info.GoVersion))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := library(m.Path, m.Version)
		sum, err := moduleHash(m.Sum)
		if err != nil {
			return bom{}, fmt.Errorf("%s: %w", m.Path, err)
		}
		c.Hashes = []hash{sum}
		doc.Components = append(doc.Components, c)
	}
	from := dependency{Ref: own.Ref, DependsOn: []string{}}
	for _, c := range doc.Components {
		from.DependsOn = append(from.DependsOn, c.Ref)
	}
	doc.Dependencies = []dependency{from}
	return doc, nil
}

// library returns a module as a component. Its package URL is as in
// https://github.com/package-url/purl-spec/blob/main/types-doc/golang-definition.md.
func library(path, version string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Ref: purl, Type: "library", Name: path, Version: version, Scope: "required", PURL: purl}
}

// moduleHash returns the SHA-256 of a module's tree that go.sum has as "h1:" and base64.
// A module in a folder has none, and must not be in a release.
func moduleHash(sum string) (hash, error) {
	text, ok := strings.CutPrefix(sum, "h1:")
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) != 32 {
		return hash{}, errors.New("the program was compiled from a module without a checksum in go.sum")
	}
	return hash{"SHA-256", hex.EncodeToString(raw)}, nil
}
