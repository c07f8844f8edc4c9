// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// messageToProto fills p with m. left is m's TimeLeft at this moment.
func messageToProto(p *pb.Message, m *driver.Message, left time.Duration) {
	p.Kind = uint32(m.Kind)
	p.Exchange = m.Target.Exchange
	p.Topic = m.Target.Topic
	p.Server = m.Target.Server
	p.Fanout = m.Target.Fanout
	p.Scoped = m.Target.Scoped
	p.Priority = m.Priority
	p.Format = uint32(m.Format)
	p.ReplyTo = m.ReplyTo
	p.CallId = m.CallID
	p.UniqueId = m.UniqueID
	p.MonitorTimeoutUs = toMicros(m.MonitorTimeout)
	p.Context = m.Context
	p.Body = m.Body
	p.Failure = m.Failure
	p.TimeLeftUs = toMicros(left)
	p.TimeOverUs = toMicros(-left)
	p.Headers = m.Headers
	p.Mandatory = m.Mandatory
	p.DeadlineUnixMs = uint64(m.DeadlineMillis())
	p.FailFast = m.FailFast
}

// messageFromProto fills m with p, whose slices it takes over.
func messageFromProto(m *driver.Message, p *pb.Message) {
	m.Kind = driver.Kind(min(p.GetKind(), math.MaxUint8))
	m.Target = driver.Target{
		Exchange: p.GetExchange(), Topic: p.GetTopic(), Server: p.GetServer(),
		Fanout: p.GetFanout(), Scoped: p.GetScoped(),
	}
	m.Priority = p.GetPriority()
	m.Format = driver.NotificationFormat(min(p.GetFormat(), math.MaxUint8))
	m.ReplyTo = p.GetReplyTo()
	m.CallID = p.GetCallId()
	m.UniqueID = p.GetUniqueId()
	m.MonitorTimeout = fromMicros(p.GetMonitorTimeoutUs())
	m.Context = p.GetContext()
	m.Body = p.GetBody()
	m.Failure = p.GetFailure()
	m.TimeLeft = fromMicros(p.GetTimeLeftUs())
	if over := p.GetTimeOverUs(); over > 0 {
		m.TimeLeft = -fromMicros(over)
	}
	m.Headers = p.GetHeaders()
	m.Mandatory = p.GetMandatory()
	m.Deadline = driver.DeadlineTime(int64(min(p.GetDeadlineUnixMs(), math.MaxInt64)))
	m.FailFast = p.GetFailFast()
}

// toMicros rounds up, so that a time that is left, or over, does not become "without limit".
func toMicros(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	us := uint64(d / time.Microsecond)
	if d%time.Microsecond > 0 {
		us++
	}
	return us
}

func fromMicros(us uint64) time.Duration {
	if us > uint64(math.MaxInt64/time.Microsecond) {
		return math.MaxInt64
	}
	return time.Duration(us) * time.Microsecond
}

// checkText refuses texts that protobuf could not carry. Foreign JSON is bytes and free; the
// names are strings. Headers are the matter of driver.CheckHeaders.
func checkText(m *driver.Message) error {
	for _, s := range [...]string{m.Target.Exchange, m.Target.Topic, m.Target.Server, m.ReplyTo, m.CallID, m.UniqueID, m.Priority} {
		if !utf8.ValidString(s) {
			return driver.Errorf(driver.ReasonUnsupported, "a name of the %s message is not valid UTF-8", m.Kind)
		}
	}
	return nil
}

func sourceToProto(s driver.Source) *pb.Source {
	p := &pb.Source{
		Kind: uint32(s.Kind), Settle: uint32(s.Settle),
		Exchange: s.Target.Exchange, Topic: s.Target.Topic, Server: s.Target.Server,
		ReplyName: s.ReplyName, Pool: s.Pool, Scoped: s.Target.Scoped, AtMostOnce: s.AtMostOnce,
	}
	p.Notifications = topicsToProto(s.Notifications)
	return p
}

func sourceFromProto(p *pb.Source) driver.Source {
	s := driver.Source{
		Kind:   driver.SourceKind(min(p.GetKind(), math.MaxUint8)),
		Settle: driver.Settle(min(p.GetSettle(), math.MaxUint8)),
		Target: driver.Target{
			Exchange: p.GetExchange(), Topic: p.GetTopic(), Server: p.GetServer(), Scoped: p.GetScoped(),
		},
		ReplyName: p.GetReplyName(), Pool: p.GetPool(), AtMostOnce: p.GetAtMostOnce(),
	}
	s.Notifications = topicsFromProto(p.GetNotifications())
	return s
}

func infoToProto(i driver.Info) *pb.DriverInfo {
	p := &pb.DriverInfo{
		Name: i.Name, Version: i.Version, Summary: i.Summary, Aliases: i.Aliases,
		DefaultPort: uint32(max(i.DefaultPort, 0)),
	}
	for _, c := range i.Capabilities {
		p.Capabilities = append(p.Capabilities, string(c))
	}
	for _, o := range i.Options {
		p.Options = append(p.Options, &pb.OptionSpec{
			Name: o.Name, Type: string(o.Type), DefaultValue: o.Default, Help: o.Help,
			Secret: o.Secret, Choices: o.Choices, Min: o.Min, Max: o.Max, Renamed: o.Renamed,
		})
	}
	return p
}

func infoFromProto(p *pb.DriverInfo) driver.Info {
	i := driver.Info{
		Name: p.GetName(), Version: p.GetVersion(), Summary: p.GetSummary(), Aliases: p.GetAliases(),
		DefaultPort: int(min(p.GetDefaultPort(), math.MaxUint16)),
	}
	for _, c := range p.GetCapabilities() {
		i.Capabilities = append(i.Capabilities, driver.Capability(c))
	}
	for _, o := range p.GetOptions() {
		i.Options = append(i.Options, driver.OptionSpec{
			Name: o.GetName(), Type: driver.OptionType(o.GetType()), Default: o.GetDefaultValue(), Help: o.GetHelp(),
			Secret: o.GetSecret(), Choices: o.GetChoices(), Min: o.Min, Max: o.Max, Renamed: o.GetRenamed(),
		})
	}
	return i
}

func openToProto(conn, epoch uint64, cfg driver.Config) *pb.OpenRequest {
	p := &pb.OpenRequest{
		Conn: conn, Epoch: epoch, Driver: cfg.Driver, Variant: cfg.Variant,
		Options: cfg.Options, AppName: cfg.AppName, Instance: cfg.Instance, DefaultExchange: cfg.DefaultExchange,
	}
	if cfg.HasVirtualHost {
		p.VirtualHost = &cfg.VirtualHost
	}
	for _, h := range cfg.Hosts {
		b := &pb.BrokerHost{Name: h.Name, Port: uint32(h.Port)}
		if h.HasUser {
			b.User = &h.User
		}
		if h.HasPassword {
			password := h.Password.Reveal()
			b.Password = &password
		}
		p.Hosts = append(p.Hosts, b)
	}
	return p
}

func openFromProto(p *pb.OpenRequest) driver.Config {
	cfg := driver.Config{
		Driver: p.GetDriver(), Variant: p.GetVariant(),
		VirtualHost: p.GetVirtualHost(), HasVirtualHost: p.VirtualHost != nil,
		Options: p.GetOptions(), AppName: p.GetAppName(), Instance: p.GetInstance(), DefaultExchange: p.GetDefaultExchange(),
	}
	for _, b := range p.GetHosts() {
		cfg.Hosts = append(cfg.Hosts, driver.Host{
			Name: b.GetName(), Port: int(min(b.GetPort(), math.MaxUint16)),
			User: b.GetUser(), HasUser: b.User != nil,
			Password: driver.Secret(b.GetPassword()), HasPassword: b.Password != nil,
		})
	}
	return cfg
}
