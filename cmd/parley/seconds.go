// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// durationFlag is a flag's time: "1.5s" and "200ms" as Go writes them, or a bare number of
// seconds as oslo.messaging's options have it.
type durationFlag struct{ d *time.Duration }

var errDuration = errors.New("want a time such as 5s, 200ms or 1.5 (seconds), not negative")

func (v durationFlag) String() string {
	if v.d == nil {
		return ""
	}
	return v.d.String()
}

func (v durationFlag) Type() string { return "duration" }

func (v durationFlag) Set(text string) error {
	d, err := parseDuration(text)
	if err != nil {
		return err
	}
	*v.d = d
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(n) || n < 0 || n > math.MaxInt64/float64(time.Second) {
			return 0, errDuration
		}
		return time.Duration(n * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errDuration
	}
	return d, nil
}

// addDuration defines a flag for a time with a default.
func addDuration(flags *pflag.FlagSet, p *time.Duration, name string, def time.Duration, usage string) {
	*p = def
	flags.Var(durationFlag{p}, name, usage)
}
