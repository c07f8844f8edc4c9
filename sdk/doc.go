// SPDX-License-Identifier: Apache-2.0

// Package sdk turns a [driver.Driver] into a driver binary.
//
//	func main() { sdk.Serve(&mydriver{}, nil) }
//
// The binary is called parley-driver-NAME and is put into a directory where applications look
// for drivers. It answers four ways of being started:
//
//   - by an application: it serves the driver until the application goes away;
//   - with the argument "describe": it prints what it is as JSON, without any network;
//   - with the argument "--debug": it waits for applications that are told where it is, so that
//     it can be started by a debugger, and prints what to tell them;
//   - by hand: it says what it is and how it is used, and exits with status 1.
//
// What a driver must do stands in package plugin/driver, rule by rule. What the SDK does for
// it: the handshake, the streams, credit and batching, log records to the application's
// logger at the level the application wants, panics turned into errors, and an end to the
// process when the application is gone, however it went.
package sdk
