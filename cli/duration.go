package cli

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// ParseDuration is time.ParseDuration with days (24 h) and weeks in front, such as 30d or
// 1w2d12h. Its errors say how a duration is written.
func ParseDuration(text string) (time.Duration, error) {
	var days time.Duration
	rest := text
	for _, unit := range []struct {
		letter string
		is     time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, unit.letter)
		n, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil {
			continue
		}
		if n > uint64((math.MaxInt64-days)/unit.is) {
			return 0, errDuration(text)
		}
		days, rest = days+time.Duration(n)*unit.is, after
	}
	if rest == "" && text != "" {
		return days, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d > math.MaxInt64-days || days > 0 && d < 0 {
		return 0, errDuration(text)
	}
	return days + d, nil
}

func errDuration(text string) error {
	return fmt.Errorf("%q is no duration: say a number with its unit, such as 500ms, 30s, 15m, 12h or 30d", text)
}

// decodeDuration reads a flag, or the variable that stands for it.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("duration")
	if err != nil {
		return err
	}
	d, err := ParseDuration(fmt.Sprint(token.Value))
	if err != nil {
		return err
	}
	target.SetInt(int64(d))
	return nil
}
