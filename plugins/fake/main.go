// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/sdk"
)

func main() { sdk.Serve(memory.New(), nil) }
