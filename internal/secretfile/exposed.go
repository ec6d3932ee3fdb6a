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
	"strings"
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

// check looks at a file, and at all directories on the way there.
func (u User) check(file string, look func(fs.FileInfo) error) error {
	info, err := os.Stat(file)
	if err != nil {
		return nil
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil
	}
	for _, err := range []error{look(info), u.way(path)} {
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// maxLinks is how many links the system follows.
const maxLinks = 40

// way tells which of the directories on the way to a file, by links too, lets others
// replace what is in it. What cannot be looked at is passed over.
func (u User) way(path string) error {
	dir, left, links := "/", split(path), 0
	for {
		if err := u.directory(dir); err != nil {
			return fmt.Errorf("directory %s: %w", dir, err)
		}
		for found := false; !found; {
			if len(left) == 0 {
				return nil
			}
			next := filepath.Join(dir, left[0])
			left = left[1:]
			info, err := os.Lstat(next)
			switch {
			case err != nil:
				return nil
			case info.IsDir():
				dir, found = next, true
			case info.Mode()&fs.ModeSymlink != 0:
				target, err := os.Readlink(next)
				if links++; err != nil || links > maxLinks {
					return nil
				}
				left = append(split(target), left...)
				if filepath.IsAbs(target) {
					dir, found = "/", true
				}
			}
		}
	}
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}

// directory tells who else than u and root can replace what is in a directory. In one
// with the sticky bit only its owner can.
func (u User) directory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSticky != 0:
		return u.owned(info)
	}
	return u.writable(info, dir)
}

// writable tells who else than u and root can write to a file or directory. A
// directory that u's own group can write to is u's own.
func (u User) writable(info fs.FileInfo, path string) error {
	if err := u.owned(info); err != nil {
		return err
	}
	mode, by := info.Mode(), owner(info)
	ownGroup := info.IsDir() && (by.gid == root || by.gid == u.GID)
	switch {
	case mode&othersWrite != 0:
		return fmt.Errorf("every user can write to it (mode %04o): chmod o-w %s", mode.Perm(), path)
	case mode&groupWrites != 0 && !ownGroup:
		return fmt.Errorf("group %s can write to it (mode %04o): chmod g-w %s", groupName(by.gid), mode.Perm(), path)
	}
	return nil
}

// owned tells whose a file is, unless it is root's or u's.
func (u User) owned(info fs.FileInfo) error {
	by := owner(info).uid
	if by == root || by == u.UID {
		return nil
	}
	return fmt.Errorf("it belongs to user %s, but this runs as %s: if Duffy runs as that user, check as that user, otherwise chown it", userName(by), userName(u.UID))
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
