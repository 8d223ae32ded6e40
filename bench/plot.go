package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
)

// plot is a diagram of lines with a common horizontal axis. It draws itself, in about a
// hundred lines: gonum.org/v1/plot would bring 26 modules to the 126 that this one and its
// dependencies are, with fonts and PDF, for a picture that only this command makes.
type plot struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	X     string `json:"x"`
	Y     string `json:"y"`
	LogX  bool   `json:"log_x,omitempty"`
	LogY  bool   `json:"log_y,omitempty"`
	Lines []line `json:"lines"`
}

type line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

func (p *plot) add(name string, x, y float64) {
	at := slices.IndexFunc(p.Lines, func(l line) bool { return l.Name == name })
	if at < 0 {
		at = len(p.Lines)
		p.Lines = append(p.Lines, line{Name: name})
	}
	p.Lines[at].Points = append(p.Lines[at].Points, [2]float64{x, y})
}

// table prints the plot's numbers.
func (p *plot) table(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n| %s |", p.Title, p.Y)
	var xs []float64
	for _, l := range p.Lines {
		for _, point := range l.Points {
			if !slices.Contains(xs, point[0]) {
				xs = append(xs, point[0])
			}
		}
	}
	slices.Sort(xs)
	for _, x := range xs {
		fmt.Fprintf(b, " %s |", number(x))
	}
	b.WriteString("\n|---|")
	for range xs {
		b.WriteString("---|")
	}
	b.WriteString("\n")
	for _, l := range p.Lines {
		fmt.Fprintf(b, "| %s |", l.Name)
		for _, x := range xs {
			text := ""
			for _, point := range l.Points {
				if point[0] == x {
					text = number(point[1])
				}
			}
			fmt.Fprintf(b, " %s |", text)
		}
		b.WriteString("\n")
	}
}

// Sizes of the drawing, in pixels.
const (
	width, height             = 760, 420
	left, right, top, bottom  = 70, 190, 40, 50
	areaWidth, areaHeight     = width - left - right, height - top - bottom
	legendEvery, maxAxisMarks = 20, 8
)

// colours is the palette of Okabe and Ito, which is distinct with every kind of colour
// vision (https://jfly.uni-koeln.de/color/).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#f0e442"}

// svg draws the plot. A scale that isn't logarithmic begins at 0.
func (p *plot) svg() []byte {
	x, y := axis{log: p.LogX, length: areaWidth}, axis{log: p.LogY, length: areaHeight}
	for _, l := range p.Lines {
		for _, point := range l.Points {
			x.include(point[0])
			y.include(point[1])
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
	}
	text(left, 22, "start", p.Title)
	text(left+areaWidth/2, height-12, "middle", p.X)
	text(left, top-4, "end", p.Y)
	for _, v := range x.marks() {
		at := left + x.at(v)
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#ddd"/>`+"\n", at, top, top+areaHeight)
		text(at, top+areaHeight+16, "middle", number(v))
	}
	for _, v := range y.marks() {
		at := top + areaHeight - y.at(v)
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", left, at, left+areaWidth)
		text(left-6, at+4, "end", number(v))
	}
	for i, l := range p.Lines {
		colour, path := colours[i%len(colours)], ""
		for n, point := range l.Points {
			command := "L"
			if n == 0 {
				command = "M"
			}
			px, py := left+x.at(point[0]), top+areaHeight-y.at(point[1])
			path += fmt.Sprintf("%s%.1f %.1f", command, px, py)
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", px, py, colour)
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path, colour)
		at := float64(top + 10 + i*legendEvery)
		fmt.Fprintf(&b, `<path d="M%d %.1fh18" stroke="%s" stroke-width="2"/>`+"\n", left+areaWidth+12, at, colour)
		text(left+areaWidth+36, at+4, "start", l.Name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// axis maps values to pixels.
type axis struct {
	log      bool
	length   float64
	min, max float64
	any      bool
}

func (a *axis) include(v float64) {
	if !a.any {
		a.min, a.max, a.any = v, v, true
	}
	a.min, a.max = min(a.min, v), max(a.max, v)
}

func (a *axis) at(v float64) float64 {
	from, to := a.bounds()
	if a.log {
		v, from, to = math.Log(max(v, from)), math.Log(from), math.Log(to)
	}
	return (v - from) / (to - from) * a.length
}

func (a *axis) bounds() (from, to float64) {
	if !a.log {
		return 0, max(a.max*1.05, 1e-9)
	}
	from = max(a.min, 1e-3)
	if to = a.max; to <= from {
		to = from * 10
	}
	return from, to
}

// marks returns the values at which the axis has numbers.
func (a *axis) marks() (all []float64) {
	from, to := a.bounds()
	if a.log {
		for decade := math.Pow(10, math.Floor(math.Log10(from))); decade <= to; decade *= 10 {
			for _, factor := range []float64{1, 2, 5} {
				if v := decade * factor; v >= from*0.999 && v <= to*1.001 && (factor == 1 || to/from < 1000) {
					all = append(all, v)
				}
			}
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10(to)))
	for _, divisor := range []float64{5, 2, 1} {
		if to/(step/divisor) <= maxAxisMarks {
			step /= divisor
			break
		}
	}
	for v := 0.0; v <= to; v += step {
		all = append(all, v)
	}
	return all
}
