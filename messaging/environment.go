// SPDX-License-Identifier: Apache-2.0

package messaging

// EnvironmentEntry is a variable that drivers get.
type EnvironmentEntry struct {
	Name string `json:"name"`
	// Value is masked when the name looks like that of a secret, and empty when it is made for each
	// process.
	Value string `json:"value"`
	// Origin is "host" for what every driver gets of this process, "passed" for what
	// [HostOptions.PassEnvironment] names, "option" for [HostOptions.Environment], and "parley" for
	// what is set for each process.
	Origin string `json:"origin"`
}

// DriverEnvironment is the environment that a driver which is started now would get, sorted by
// name: everything else of this process's environment stays here.
func (h *Host) DriverEnvironment() []EnvironmentEntry {
	entries := h.inner.Environment()
	all := make([]EnvironmentEntry, 0, len(entries))
	for _, e := range entries {
		all = append(all, EnvironmentEntry{Name: e.Name, Value: e.Value, Origin: e.Origin})
	}
	return all
}
