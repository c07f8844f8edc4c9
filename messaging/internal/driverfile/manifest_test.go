// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAliasesComeFromManifests(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"one", "two", "liar", "broken", "path", "silent"} {
		write("parley-driver-"+name, "#!/bin/sh\nexit 1\n", 0o700)
	}
	write("parley-driver-one.json", `{"name":"one","aliases":["uno","both"]}`, 0o600)
	write("parley-driver-two.json", `{"name":"two","aliases":["dos","both"]}`, 0o600)
	write("parley-driver-liar.json", `{"name":"one","aliases":["x"]}`, 0o600)
	write("parley-driver-broken.json", `{"name":`, 0o600)
	write("parley-driver-path.json", `{"name":"path","aliases":["../evil"]}`, 0o600)

	path := SearchPath{Dirs: []SearchDir{{Path: dir, Origin: "test"}}}
	aliases, problems := path.Aliases()
	if want := map[string]string{"uno": "one", "dos": "two"}; !maps.Equal(aliases, want) {
		t.Errorf("aliases %v, want %v", aliases, want)
	}
	all := strings.Join(problems, "\n")
	for _, text := range []string{
		`alias "both" is claimed by`, `it describes driver "one"`, "parley-driver-broken.json is ignored", `alias "../evil" is a path`,
	} {
		if !strings.Contains(all, text) {
			t.Errorf("%q is missing in:\n%s", text, all)
		}
	}
	if len(problems) != 4 {
		t.Errorf("problems:\n%s", all)
	}
	for _, c := range path.List() {
		if strings.HasSuffix(c.Path, manifestSuffix) {
			t.Errorf("a manifest is listed as a driver: %+v", c)
		}
	}
}
