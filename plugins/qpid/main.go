// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/parleymq/parley/sdk"

func main() { sdk.Serve(newDriver(), nil) }
