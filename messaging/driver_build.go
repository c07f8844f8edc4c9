// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// DriverBuild is what a driver says of itself and of how it was built.
type DriverBuild struct {
	driver.Info
	// SDKVersion is the release of Parley's SDK in it, ProtocolMajor the protocol agreed on.
	SDKVersion    string `json:"sdk_version"`
	ProtocolMajor int    `json:"protocol_major"`
}

// Build is [Host.Describe] with how the driver was built.
func (h *Host) Build(ctx context.Context, name string) (DriverBuild, error) {
	b, err := h.inner.Build(ctx, name)
	if err != nil {
		return DriverBuild{}, operation{verb: "describe driver"}.wrap(err)
	}
	return DriverBuild{Info: b.Info, SDKVersion: b.SDKVersion, ProtocolMajor: b.ProtocolMajor}, nil
}
