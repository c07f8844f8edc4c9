// SPDX-License-Identifier: Apache-2.0

package cost

import "time"

// InProcess as a URL is a transport with its broker in the application, without a driver process.
const InProcess = "memory"

// Setup is the first line a worker reads. It comes by standard input because the URL has a
// password.
type Setup struct {
	URL        string `json:"url"` // empty is an application without a transport
	DriverPath string `json:"driver_path"`
	RuntimeDir string `json:"runtime_dir"`
	LockFile   string `json:"lock_file"`
	TrustLock  bool   `json:"trust_lock"`
	AutoMTLS   bool   `json:"auto_mtls"`
	Probe      bool   `json:"probe"` // the driver is the probe
}

// Started is the answer to a Setup: what the application waited for.
type Started struct {
	Error string        `json:"error,omitempty"`
	Open  time.Duration `json:"open"`
	Serve time.Duration `json:"serve"`
	Call  time.Duration `json:"call"`
}

// Order brings the application to so many listeners and waiting calls, and measures. They are
// never fewer than before.
type Order struct {
	Listeners int `json:"listeners"`
	Waiting   int `json:"waiting"`
}

// Measured is the answer to an Order.
type Measured struct {
	Error  string `json:"error,omitempty"`
	App    Usage  `json:"app"`
	Driver Usage  `json:"driver"` // zero without a driver process
	Guards Usage  `json:"guards"` // the processes that the host started beside it, together
}

// Usage is what one process holds.
type Usage struct {
	PSS         int64 `json:"pss"` // memory in RAM, shared pages by their share
	RSS         int64 `json:"rss"`
	Heap        int64 `json:"heap,omitempty"`   // of the worker alone: spans in use
	Stacks      int64 `json:"stacks,omitempty"` // of the worker alone
	Descriptors int   `json:"descriptors"`
	Threads     int   `json:"threads"`
	Goroutines  int   `json:"goroutines,omitempty"` // of the worker and the probe
}
