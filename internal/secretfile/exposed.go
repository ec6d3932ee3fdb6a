package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Mode bits of the group and of all others.
const (
	groupReads  fs.FileMode = 0o040
	groupWrites fs.FileMode = 0o020
	othersRead  fs.FileMode = 0o004
	othersWrite fs.FileMode = 0o002
	root                    = 0
)

// A User is for whom files should be safe: the one that Duffy runs as.
type User struct {
	UID    int
	GID    int
	Groups []int // others that the user is in
}

// Current returns the user of this process.
func Current() User {
	groups, _ := os.Getgroups()
	return User{UID: os.Geteuid(), GID: os.Getegid(), Groups: groups}
}

// Private tells what lets other users read or write a file, or put another one in
// its place: nil if nothing does, or if the file cannot be looked at, which is for
// its reader to tell. A file of root may be read by a group that u is in.
func (u User) Private(file string) error {
	return u.check(file, func(info fs.FileInfo) error {
		mode, gid := info.Mode(), owner(info).gid
		switch {
		case mode&othersRead != 0:
			return fmt.Errorf("every user can read it (mode %04o): chmod o= %s", mode.Perm(), file)
		case mode&groupReads != 0 && !(owner(info).uid == root && u.in(gid)):
			return fmt.Errorf("group %s can read it (mode %04o): chmod g= %s, or have it belong to root and a group of Duffy's own", groupName(gid), mode.Perm(), file)
		}
		return u.writable(info, file)
	})
}

// Trusted is Private for a file that others may read.
func (u User) Trusted(file string) error {
	return u.check(file, func(info fs.FileInfo) error { return u.writable(info, file) })
}

// check looks at a file, and at all directories that lead there.
func (u User) check(file string, look func(fs.FileInfo) error) error {
	info, err := os.Stat(file)
	if err != nil {
		return nil
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil
	}
	errs := []error{look(info), u.parents(filepath.Dir(path))}
	// Where links lead has parents of its own.
	if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
		errs = append(errs, u.parents(filepath.Dir(target)))
	}
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// parents tells which of a directory and those above it lets others replace what is
// in it.
func (u User) parents(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err == nil && info.Mode()&fs.ModeSticky == 0 {
			err = u.writable(info, dir)
		}
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("directory %s: %w", dir, err)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// writable tells who else than u and root can write to a file or directory. A
// directory that u's own group can write to is u's own.
func (u User) writable(info fs.FileInfo, path string) error {
	mode, by := info.Mode(), owner(info)
	ownGroup := info.IsDir() && (by.gid == root || by.gid == u.GID)
	switch {
	case by.uid != root && by.uid != u.UID:
		return fmt.Errorf("it belongs to user %s, but this runs as %s: if Duffy runs as that user, check as that user, otherwise chown it", userName(by.uid), userName(u.UID))
	case mode&othersWrite != 0:
		return fmt.Errorf("every user can write to it (mode %04o): chmod o-w %s", mode.Perm(), path)
	case mode&groupWrites != 0 && !ownGroup:
		return fmt.Errorf("group %s can write to it (mode %04o): chmod g-w %s", groupName(by.gid), mode.Perm(), path)
	}
	return nil
}

// in tells whether u is in a group; root is in all of them.
func (u User) in(gid int) bool {
	return u.UID == root || gid == u.GID || slices.Contains(u.Groups, gid)
}

type ids struct{ uid, gid int }

func owner(info fs.FileInfo) ids {
	stat := info.Sys().(*syscall.Stat_t)
	return ids{int(stat.Uid), int(stat.Gid)}
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
