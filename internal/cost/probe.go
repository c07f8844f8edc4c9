// SPDX-License-Identifier: Apache-2.0

package cost

// The record by which the probe tells its goroutines.
const (
	ProbeMessage   = "goroutines of the probe"
	ProbeAttribute = "count"
)
