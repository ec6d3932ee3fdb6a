// Package config reads Duffy's configuration files, Duffy 3's unchanged.
//
// Files are YAML 1.1 as Duffy 3 read it, with any number of documents each.
// Every document is checked where it stands, then they are merged in order:
// mappings merge at any depth, anything else is replaced. All that is wrong is
// reported at once, with file and line. Errors repeat no text that may be secret.
package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Files is what a number of configuration files say together. It does not
// change, and may be used concurrently.
type Files struct {
	root   *value
	config Config
	files  []File
}

// Load reads files, and of directories the *.yaml and *.yml files in them,
// sorted by name. Its error joins one [*Error] for each thing that is wrong with
// the files' content; without a path there is nothing wrong, and nothing set.
func Load(paths ...string) (*Files, error) {
	names, err := expand(paths)
	errs := []error{err}
	root := newMapping(place{})
	var files []File
	for _, name := range names {
		docs, err := parseFile(name)
		errs = append(errs, err)
		file := File{Name: name}
		for _, doc := range docs {
			file.Secrets = file.Secrets || doc.hasSecrets(nil)
			_, err := readConfig(doc)
			if err == nil {
				err = merge(root, doc, nil)
			}
			errs = append(errs, err)
		}
		files = append(files, file)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	config, err := readConfig(root)
	if err != nil {
		return nil, err
	}
	f := &Files{root, config, files}
	if config.Tasks.Queue == QueueAsynq && config.Tasks.Redis == "" {
		return nil, f.At(errors.New("asynq works with Redis: set tasks.redis to its URL"), "tasks", "queue")
	}
	if config.Client.AuthKey != "" && config.Client.AuthKeyFile != "" {
		return nil, f.At(errors.New("there is key, too: set one of them"), "client", "auth", "key-file")
	}
	for section, tls := range map[string]TLS{"app": config.App.TLS, "metaclient": config.Metaclient.TLS} {
		if (tls.Certificate == "") != (tls.Key == "") {
			return nil, f.At(errors.New("certificate and key belong together: set both"), section, "tls")
		}
	}
	return f, nil
}

// LoadClient returns what files say about the client: those of Load, or the default
// ones if there are no paths. Of the default ones it passes over what this user may
// not read, which denied tells: they may be a server's, and the client has all it needs.
func LoadClient(paths ...string) (c Client, denied, err error) {
	if len(paths) == 0 {
		paths, denied = readable(DefaultPaths())
	}
	files, err := Load(paths...)
	if err != nil {
		return Client{}, nil, err
	}
	return files.Config().Client, denied, nil
}

// readable returns the files of paths but for those that this user may not read.
func readable(paths []string) (names []string, denied error) {
	for _, path := range paths {
		found, err := expand([]string{path})
		if errors.Is(err, fs.ErrPermission) {
			denied = errors.Join(denied, err)
			continue
		}
		for _, name := range found {
			file, err := os.Open(name)
			switch {
			case errors.Is(err, fs.ErrPermission):
				denied = errors.Join(denied, err)
				continue
			case err == nil:
				file.Close()
			}
			names = append(names, name)
		}
	}
	return names, denied
}

// DefaultPaths returns those of /etc/duffy and $XDG_CONFIG_HOME/duffy (by
// default ~/.config/duffy) that exist.
func DefaultPaths() []string {
	candidates := []string{"/etc/duffy"}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		candidates = append(candidates, filepath.Join(dir, "duffy"))
	} else if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".config", "duffy"))
	}
	return slices.DeleteFunc(candidates, func(path string) bool {
		_, err := os.Stat(path)
		return err != nil
	})
}

// expand puts the files of directories in place of these.
func expand(paths []string) (names []string, err error) {
	var errs []error
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !info.IsDir():
			names = append(names, path)
		default:
			entries, err := os.ReadDir(path)
			errs = append(errs, err)
			for _, entry := range entries {
				if ext := filepath.Ext(entry.Name()); ext == ".yaml" || ext == ".yml" {
					names = append(names, filepath.Join(path, entry.Name()))
				}
			}
		}
	}
	return names, errors.Join(errs...)
}

// Config returns what the files say, and defaults for what they do not.
func (f *Files) Config() Config { return f.config }

// Keys returns the top-level keys in the order of their first appearance.
func (f *Files) Keys() []string { return slices.Clone(f.root.keys) }

// Merged returns all that is set, secrets in the clear, as map[string]any,
// []any, string, int64, float64, bool and nil.
func (f *Files) Merged() map[string]any { return f.root.plain().(map[string]any) }

// Where returns the file:line where the setting with this path, of keys and of
// indexes in lists, was set last, or "" if it is not set.
func (f *Files) Where(path ...string) string {
	if v := f.root.find(path...); v != nil {
		return v.at.String()
	}
	return ""
}

// At makes an [*Error] of what is wrong with the setting that has this path. Its
// place is where the setting stands or, if it is missing, what it is missing in.
func (f *Files) At(err error, path ...string) error {
	var where string
	for n := len(path); n > 0 && where == ""; n-- {
		where = f.Where(path[:n]...)
	}
	return &Error{Place: where, Path: path, Err: err}
}

// A Pool is an entry of nodepools.abstract or nodepools.concrete as it stands
// there, with nothing inherited.
type Pool struct {
	Name     string
	Abstract bool
	Settings map[string]any // of the types that Merged tells
}

// Pools returns the abstract pools and then the concrete ones, each in the order
// of their first appearance.
func (f *Files) Pools() []Pool {
	var pools []Pool
	for _, kind := range poolKinds {
		defined := f.root.find("nodepools", kind)
		if defined == nil {
			continue
		}
		for _, name := range defined.keys {
			settings := defined.fields[name].plain().(map[string]any)
			pools = append(pools, Pool{Name: name, Abstract: kind == kindAbstract, Settings: settings})
		}
	}
	return pools
}

// Ignored returns the settings that are there but have no meaning: they were for
// the libraries that Duffy 3 was made of.
func (f *Files) Ignored() []string {
	var ignored []string
	for _, path := range ignoredPaths {
		if f.root.find(path...) != nil {
			ignored = append(ignored, pathString(path))
		}
	}
	if options := f.root.find("database", "sqlalchemy"); options != nil {
		for _, key := range options.keys {
			if key != "sync_url" && key != "async_url" {
				ignored = append(ignored, "database.sqlalchemy."+key)
			}
		}
	}
	return ignored
}
