// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/version"
	"github.com/parleymq/parley/plugin/driver"
)

// Description is what a driver prints for "describe".
type Description struct {
	driver.Info
	SDKVersion     string `json:"sdk_version"`
	ProtocolMajors []int  `json:"protocol_majors"`
}

func printDescription(info driver.Info, w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(Description{Info: info, SDKVersion: version.Number, ProtocolMajors: bridge.Majors()})
}

func printUsage(info driver.Info, w io.Writer) {
	_, _ = fmt.Fprintf(w, `parley-driver-%[1]s %[2]s: %[3]s

This is a transport driver of Parley. Applications start it by themselves; it does nothing
when started by hand.

  Put it where applications look for drivers: a directory of PARLEY_DRIVER_PATH,
  ~/.local/share/parley/drivers or /usr/local/lib/parley/drivers.
  Then use it by its name:    parley call --url %[1]s://... --topic T METHOD
  See what it can do:         parley-driver-%[1]s describe
  Run it in a debugger:       parley-driver-%[1]s --debug
`, info.Name, info.Version, info.Summary)
}
