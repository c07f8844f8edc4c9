// SPDX-License-Identifier: Apache-2.0

// Package drivertest is the conformance suite of the driver contract: the rules of package
// driver, each as a case that a driver passes or fails.
//
// A driver's author writes a [Harness], which says how to get a connection, and calls [Run]
// from a test. The same cases run in one process (quick, with the race detector and a
// debugger), through the process boundary, and against a built binary: only the Harness
// differs.
//
//	func TestConformance(t *testing.T) {
//		d := mybroker.New()
//		drivertest.Run(t, drivertest.Harness{
//			Info: d.Describe,
//			Open: func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
//				conn, err := d.Open(ctx, config(namespace))
//				if err != nil {
//					t.Fatalf("open: %v", err)
//				}
//				return conn
//			},
//		})
//	}
//
// # What a result means
//
// A case cites the rule it proves. A case is left out when the driver does not declare a
// capability it needs, or when the Harness has no way to bring about what it needs; both are
// printed as NOT PROVEN with the cause, so that a short list of passes is not read as a long
// one. Rules that no case of this package can prove are printed as well, with who has to.
//
// A case never waits for a fixed time to see that nothing happens. It sends a message that
// must come after what must not come, or counts: what one listener got, another did not.
package drivertest
