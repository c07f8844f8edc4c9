// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"

	"github.com/parleymq/parley/messaging/internal/driverfile"
)

// InstallOptions say how a driver is installed. Nil, and every zero field, mean the default.
type InstallOptions struct {
	// Dir is where the driver goes. Default: the user's own drivers, which are in the search path.
	Dir string
	// Version is that of a driver that does not say X.Y.Z of itself, such as a build for a test.
	Version string
}

// InstalledDriver is a driver that was installed.
type InstalledDriver struct {
	DriverFile
	// Manifest is the file beside it, with what the driver says of itself.
	Manifest string `json:"manifest"`
	// Others are the files of the same driver in the same directory, the newest version first. They
	// stay, for a pin to go back to.
	Others []DriverFile `json:"others,omitempty"`
}

// Install copies a driver's program into a directory of drivers, as parley-driver-NAME_vX.Y.Z by
// the name and version that it says of itself, and records its checksum. The program is run once,
// to print its description, after the checks of owner and mode that every driver must pass. A
// process that runs from a file that is replaced goes on; see [Host.Reload].
func (h *Host) Install(ctx context.Context, file string, opts *InstallOptions) (InstalledDriver, error) {
	var o InstallOptions
	if opts != nil {
		o = *opts
	}
	done, err := h.inner.Trust().Install(ctx, driverfile.Installation{File: file, Dir: o.Dir, Version: o.Version})
	if err != nil {
		return InstalledDriver{}, operation{verb: "install driver"}.wrap(err)
	}
	d := InstalledDriver{DriverFile: driverFile(done.Candidate), Manifest: done.Manifest, Others: driverFiles(done.Others)}
	d.stand(done.Standing)
	return d, nil
}
