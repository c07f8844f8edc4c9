// SPDX-License-Identifier: Apache-2.0

package host

import "github.com/parleymq/parley/plugin/driver"

// hideSecrets masks the secrets of a connection that is about to be opened in all that the
// process prints from now on.
func (p *process) hideSecrets(cfg driver.Config) {
	for _, h := range cfg.Hosts {
		// One that is also the user's name, as RabbitMQ's "guest", hides nothing, and masking it
		// would take the name out of every record.
		if password := h.Password.Reveal(); password != h.User {
			p.runner.AddSecret(password)
		}
	}
	for _, o := range p.peer.Info().Options {
		if value := cfg.Options[o.Name]; o.Secret && value != o.Default {
			p.runner.AddSecret(value)
		}
	}
}
