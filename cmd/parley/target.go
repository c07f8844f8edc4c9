// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// targetFlags are the flags that name a target.
type targetFlags struct{ target messaging.Target }

func (f *targetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target.Topic, "topic", "", "topic of the service (required)")
	flags.StringVar(&f.target.Exchange, "exchange", "", "exchange of the topic (default \""+messaging.DefaultExchange+"\")")
	flags.StringVar(&f.target.Namespace, "namespace", "", "namespace of the interface")
	flags.StringVar(&f.target.Version, "version", "", "version of the interface, such as 2.3")
	flags.StringVar(&f.target.Server, "server", "", "one server of the topic")
}

// check refuses a target without topic in the words of the command line; every other rule is
// the library's.
func (f *targetFlags) check() error {
	if f.target.Topic == "" {
		return usagef("name the service with --topic", "no topic is given")
	}
	return nil
}

// maxNamespace is the most bytes a namespace may have.
const maxNamespace = 255

// checkInterface refuses what no endpoint can have: the library takes that for a mistake in
// the program.
func checkInterface(t messaging.Target) error {
	switch {
	case !messaging.Compatible(t.Version, t.Version):
		return usagef("write major.minor, such as 2.3", "%q is not a version", t.Version)
	case len(t.Namespace) > maxNamespace, !utf8.ValidString(t.Namespace), strings.ContainsFunc(t.Namespace, unicode.IsControl):
		return usagef("use up to 255 bytes of printable text", "%q is not a namespace", shorten(t.Namespace))
	default:
		return nil
	}
}

// withRequestContext puts the value of --context into ctx.
func withRequestContext(ctx context.Context, text string) (context.Context, error) {
	if text == "" {
		return ctx, nil
	}
	v, err := pyjson.Decode([]byte(text))
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		return nil, usagef(`write one, such as --context '{"user_id": "u-1"}'`, "the request context is not a JSON object%s", because(err))
	}
	return messaging.WithRequestContext(ctx, object), nil
}

// because appends a reason that may be missing.
func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}
