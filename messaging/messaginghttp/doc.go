// SPDX-License-Identifier: Apache-2.0

// Package messaginghttp notifies of HTTP requests, as upstream's RequestNotifier does
// (oslo_messaging/notify/middleware.py):
//
//	notify := messaginghttp.Middleware(n, &messaginghttp.Options{ServiceName: "compute"})
//	http.ListenAndServe(addr, notify(mux))
//
// Each request is two notifications at the priority info: "http.request" before the handler, with
// {"request": {…}}, and "http.response" after it, with {"request": {…}, "response": {"status":
// "200 OK", "headers": {…}}}. After a panic, which goes on, the second has {"exception": {"value":
// text, "traceback": [lines]}} instead of the response.
//
// The request is upstream's, the names that CGI has: REQUEST_METHOD, SCRIPT_NAME, PATH_INFO,
// QUERY_STRING, SERVER_NAME, SERVER_PORT, SERVER_PROTOCOL, REMOTE_ADDR, REMOTE_PORT, CONTENT_TYPE,
// CONTENT_LENGTH, each header as HTTP_…, and HTTP_X_SERVICE_NAME, which is the service's name or else
// the host that was asked for.
//
// Secrets stay here. Request headers whose names tell of one are left out: Authorization, Cookie,
// Proxy-Authorization, everything with "token", "secret", "password" or the like in it. Such
// headers of responses, as Set-Cookie and X-Subject-Token, are "***". In the query, and in
// headers that hold URLs, the values of such parameters are "***", and those of code, sig,
// signature, key, assertion and others that are known to be credentials. [Options.Secrets] adds to
// all of them. What is secret in a path, or under a name that does not tell, is not recognised.
// Bodies are never looked at.
//
// Notifications are sent by [messaging.Notifier.NotifyAndForget] and not waited for; what became of
// them is told to [messaging.NotifierOptions.OnResult]. Nothing of them reaches the client. One that
// finds no room, with [messaging.NotifierOptions.MaxPending] under way, is lost.
package messaginghttp
