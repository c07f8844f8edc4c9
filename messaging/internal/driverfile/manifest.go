// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// manifestSuffix names the file beside a driver that holds what the driver prints for
// "describe". It is optional: it lets a driver declare aliases without being started.
const manifestSuffix = ".json"

// maxManifest bounds what is read of a manifest.
const maxManifest = 1 << 20

// manifest is the part of a driver's description that matters before it is started.
type manifest struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Aliases []string `json:"aliases"`
}

// Aliases collects the names that drivers declare for themselves in their manifests. A name
// that two drivers claim belongs to neither; problems tell of it, and of manifests that
// cannot be read.
func (p SearchPath) Aliases() (aliases map[string]string, problems []string) {
	aliases = make(map[string]string)
	from := make(map[string]string) // alias to file
	for _, c := range p.List() {
		if c.Status != Chosen {
			continue
		}
		m, err := readManifest(c.Path + manifestSuffix)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil && m.Name != c.Name {
			err = fmt.Errorf("it describes driver %q", m.Name)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("manifest %s%s is ignored: %v", c.Path, manifestSuffix, err))
			continue
		}
		for _, a := range m.Aliases {
			if other, taken := from[a]; taken {
				problems = append(problems, fmt.Sprintf("alias %q is claimed by %s and %s: neither gets it", a, other, c.Path))
				delete(aliases, a)
				continue
			}
			from[a], aliases[a] = c.Path, c.Name
		}
	}
	slices.Sort(problems)
	return aliases, problems
}

func readManifest(path string) (manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest{}, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return manifest{}, err
	}
	if len(text) > maxManifest {
		return manifest{}, fmt.Errorf("it is larger than %d bytes", maxManifest)
	}
	return parseManifest(text)
}

func parseManifest(text []byte) (m manifest, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return m, err
	}
	for _, a := range m.Aliases {
		if strings.ContainsAny(a, "/\\") {
			return m, fmt.Errorf("alias %q is a path", a)
		}
	}
	return m, nil
}
