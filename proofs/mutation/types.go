package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
)

// typeChecker shows that mutated files still compile, without the compiler. Of the other
// files of a package it looks at the declarations only.
type typeChecker struct {
	root     string
	fset     *token.FileSet
	imports  types.Importer
	packages map[string][]string  // by folder below root: its Go files
	others   map[string]*ast.File // by path below root: a file without the bodies of its functions
}

// newTypeChecker asks the go command for the packages of the module and for the compiled
// declarations of all that they import.
func newTypeChecker(root string) (*typeChecker, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Module", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w", err)
	}
	c := &typeChecker{root: root, fset: token.NewFileSet(), packages: map[string][]string{}, others: map[string]*ast.File{}}
	exports := map[string]string{}
	for list := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
			Module                  *struct{ Main bool }
		}
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Main {
			dir, err := filepath.Rel(root, p.Dir)
			if err != nil {
				return nil, err
			}
			c.packages[filepath.ToSlash(dir)] = p.GoFiles
		}
	}
	c.imports = importer.ForCompiler(c.fset, "gc", func(p string) (io.ReadCloser, error) { return os.Open(exports[p]) })
	return c, nil
}

// checkTypes type-checks every job.
func checkTypes(t *tree, jobs []job) error {
	c, err := newTypeChecker(t.root)
	if err != nil {
		return err
	}
	var all []error
	for _, j := range jobs {
		all = append(all, c.check(t, j))
	}
	return errors.Join(all...)
}

// check returns what the compiler would say of the files that j changes.
func (c *typeChecker) check(t *tree, j job) error {
	dirs := map[string]bool{}
	for file := range j.files {
		if path.Ext(file) != ".go" {
			continue
		}
		dirs[path.Dir(file)] = true
		if !slices.Contains(c.packages[path.Dir(file)], path.Base(file)) {
			return fmt.Errorf("%s: %s is not compiled on this system", j.name, file)
		}
	}
	var all []error
	for dir := range dirs {
		conf := types.Config{Importer: c.imports, Error: func(err error) {
			e, ok := errors.AsType[types.Error](err)
			if !ok {
				all = append(all, err)
			} else if file := e.Fset.Position(e.Pos).Filename; j.files[file] != nil {
				all = append(all, fmt.Errorf("%s: %w", j.name, err))
			}
		}}
		files, err := c.parse(t, dir, j.files)
		if err != nil {
			return err
		}
		_, _ = conf.Check(dir, c.fset, files, nil) // its error was given to conf.Error
	}
	return errors.Join(all...)
}

// parse returns the files of a package, those that are mutated in full.
func (c *typeChecker) parse(t *tree, dir string, mutated map[string][]byte) (list []*ast.File, err error) {
	for _, name := range c.packages[dir] {
		file := path.Join(dir, name)
		if text, ok := mutated[file]; ok {
			f, err := parser.ParseFile(c.fset, file, text, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			list = append(list, f)
			continue
		}
		if c.others[file] == nil {
			if c.others[file], err = parser.ParseFile(c.fset, file, t.files[file].text, parser.SkipObjectResolution); err != nil {
				return nil, err
			}
			for _, d := range c.others[file].Decls {
				if d, ok := d.(*ast.FuncDecl); ok {
					d.Body = nil
				}
			}
		}
		list = append(list, c.others[file])
	}
	return list, nil
}
