package page

import (
	"fmt"
	"math"
	"strings"
)

// plot is a small chart, drawn by its template.
type plot struct {
	Title    string
	Points   string // of a polyline in plotWidth by plotHeight
	Low, Top string // the least and the greatest value
	Last     string
}

const plotWidth, plotHeight = 300.0, 60.0

// line returns the plot of values at even distances, from 0 up.
func line(title string, values []float64) plot {
	xs := make([]float64, len(values))
	for i := range xs {
		xs[i] = float64(i)
	}
	return scatter(title, xs, append([]float64{}, values...), true)
}

// scatter returns the plot of ys over xs, which has at least two finite values. fromZero lets
// the axis of ys begin with 0.
func scatter(title string, xs, ys []float64, fromZero bool) plot {
	left, right := bounds(xs)
	low, top := bounds(ys)
	if fromZero {
		low = min(low, 0)
	}
	p := plot{Title: title, Low: number(low), Top: number(top), Last: number(ys[len(ys)-1])}
	var b strings.Builder
	for i, x := range xs {
		fmt.Fprintf(&b, "%.1f,%.1f ", scale(x, left, right)*plotWidth, plotHeight-scale(ys[i], low, top)*plotHeight)
	}
	p.Points = strings.TrimSpace(b.String())
	return p
}

func bounds(values []float64) (low, top float64) {
	low, top = values[0], values[0]
	for _, v := range values {
		low, top = min(low, v), max(top, v)
	}
	return low, top
}

// scale returns where v stands between low and top, from 0 to 1.
func scale(v, low, top float64) float64 {
	if top <= low {
		return 0
	}
	return v/(top-low) - low/(top-low)
}

func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
