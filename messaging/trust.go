// SPDX-License-Identifier: Apache-2.0

package messaging

import "github.com/parleymq/parley/messaging/internal/driverfile"

// TrustMode says what a driver's file must prove before it is started, beside that nobody but
// root and the user of this process can have written it or its directory.
type TrustMode uint8

// The modes.
const (
	// TrustLock: the checksum of a file is recorded when it is first used. A file that has
	// another one later is refused until somebody accepts it: "parley drivers accept NAME".
	TrustLock = TrustMode(driverfile.TrustLock)
	// TrustOff asks for nothing more. It is for development.
	TrustOff = TrustMode(driverfile.TrustOff)
	// TrustRequire: a file whose checksum is not recorded is refused.
	TrustRequire = TrustMode(driverfile.TrustRequire)
)

// CheckDrivers is [Host.Drivers] with how the checksum of each file stands. It reads all of the
// files; it records nothing.
func (h *Host) CheckDrivers() []DriverFile {
	found := h.inner.SearchPath().List()
	files := driverFiles(found)
	for i, c := range found {
		if c.Status != driverfile.Refused {
			files[i].stand(h.inner.Trust().Examine(c))
		}
	}
	return files
}

// Accept records the checksum that a driver's file has now, so that TrustLock and TrustRequire let
// it start. name is a driver's name, and means the file that is started for it, or the path of a
// file. The DriverFile tells the checksum, and in Recorded the one before. What others could have
// written is not accepted.
func (h *Host) Accept(name string) (DriverFile, error) {
	op := operation{verb: "accept driver"}
	c, err := h.find(name)
	if err != nil {
		return DriverFile{}, op.wrap(err)
	}
	s, err := h.inner.Trust().Accept(c)
	if err != nil {
		return DriverFile{}, op.wrap(err)
	}
	f := driverFile(c)
	f.stand(s)
	return f, nil
}

// find finds a driver by its name or its path.
func (h *Host) find(name string) (driverfile.Candidate, error) {
	if driverfile.IsPath(name) {
		return driverfile.At(name)
	}
	return h.inner.SearchPath().Find(name)
}

func driverFiles(found []driverfile.Candidate) []DriverFile {
	files := make([]DriverFile, 0, len(found))
	for _, c := range found {
		files = append(files, driverFile(c))
	}
	return files
}

func driverFile(c driverfile.Candidate) DriverFile {
	return DriverFile{
		Name: c.Name, Version: c.Version, Path: c.Path, Dir: c.Dir.Path, Origin: c.Dir.Origin,
		Status: string(c.Status), Why: c.Why,
	}
}

// stand notes how the checksum stands.
func (f *DriverFile) stand(s driverfile.Standing) {
	f.Trust, f.TrustWhy = string(s.State), s.Why
	f.Checksum, f.Recorded = string(s.Checksum), string(s.Recorded)
}
