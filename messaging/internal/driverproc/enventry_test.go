// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"slices"
	"testing"
)

func TestEnvironment(t *testing.T) {
	host := []string{
		"PATH=/bin", "APP_SECRET=x", "REGION=north", "OTEL_EXPORTER_OTLP_HEADERS=api=1", "HTTPS_PROXY=http://me:pw@proxy:1",
		"https_proxy=me:pw@proxy:1", "TZ=UTC", "LANG=", "not an entry",
	}
	got := Environment(host, []string{"REGION", "APP_SECRET"}, []string{"TZ=EST", "DB_PASSWORD=y", "PARLEY_DRIVER_DIR=/x", "MAIL=a@b c", "odd"})
	for name, want := range map[string]EnvEntry{
		"PATH":                       {Value: "/bin", Origin: OriginHost},
		"REGION":                     {Value: "north", Origin: OriginPassed},
		"APP_SECRET":                 {Value: mask, Origin: OriginPassed},
		"OTEL_EXPORTER_OTLP_HEADERS": {Value: mask, Origin: OriginHost},
		"HTTPS_PROXY":                {Value: "http://me:xxxxx@proxy:1", Origin: OriginHost},
		"https_proxy":                {Value: mask, Origin: OriginHost},
		"TZ":                         {Value: "EST", Origin: OriginOption},
		"LANG":                       {Origin: OriginHost},
		"DB_PASSWORD":                {Value: mask, Origin: OriginOption},
		"MAIL":                       {Value: "a@b c", Origin: OriginOption},
		"PARLEY_DRIVER_DIR":          {Origin: OriginParley},
		"PLUGIN_UNIX_SOCKET_DIR":     {Origin: OriginParley},
	} {
		want.Name = name
		if i := slices.IndexFunc(got, func(e EnvEntry) bool { return e.Name == name }); i < 0 || got[i] != want {
			t.Errorf("%s: want %+v in %+v", name, want, got)
		}
	}
	if !slices.IsSortedFunc(got, cmpName) {
		t.Errorf("not sorted: %+v", got)
	}
	for _, e := range got {
		if e.Name == "odd" || e.Name == "not an entry" {
			t.Errorf("%+v is no variable", e)
		}
	}
}

func cmpName(a, b EnvEntry) int {
	switch {
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}
