// SPDX-License-Identifier: Apache-2.0

package messaging

import "slices"

// safeContextKeys are the keys of a request context that may be published: those that upstream
// lets through (oslo_messaging/notify/notifier.py of 14.4.0, _sanitize_context). Tokens, service
// catalogs and the like are not among them.
func safeContextKeys() []string {
	return []string{
		"user_id", "project_id", "domain_id", "user_domain_id", "project_domain_id", "is_admin", "request_id", "roles",
		"user_name", "project_name", "domain_name", "user_domain_name", "project_domain_name",
		"service_user_id", "service_user_domain_id", "service_user_domain_name",
		"service_project_id", "service_project_name", "service_project_domain_id", "service_project_domain_name", "service_roles",
		"global_request_id", "system_scope", "user", "domain", "user_domain", "project_domain",
	}
}

// ContextFilter decides what of a request context travels with a notification. It returns a map of
// its own, or nil for nothing, and does not change rc.
type ContextFilter func(rc RequestContext) RequestContext

// SafeContext keeps the keys that identify a request and its user, which are those upstream
// publishes, and the extra ones. It is the default, without extra ones: a notification bus is read
// by many, and tokens have been taken from it.
func SafeContext(extra ...string) ContextFilter {
	keys := append(safeContextKeys(), extra...)
	return func(rc RequestContext) RequestContext {
		kept := make(RequestContext)
		for key, value := range rc {
			if slices.Contains(keys, key) {
				kept[key] = value
			}
		}
		return kept
	}
}

// WholeContext lets all of a request context travel, secrets included.
func WholeContext() ContextFilter {
	return func(rc RequestContext) RequestContext { return rc }
}

// NoContext lets nothing of it travel.
func NoContext() ContextFilter {
	return func(RequestContext) RequestContext { return nil }
}
