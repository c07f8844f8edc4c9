// SPDX-License-Identifier: Apache-2.0

// Package context shows what travels beside the arguments of a request: who asks, and for which
// request of a user. It is upstream's context dictionary. The first example uses it as the map
// that it is; the second has it in the log; the third turns an application's own type into it and
// back, in a Serializer.
package context
