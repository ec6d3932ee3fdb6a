package db

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgUnstorable are the codes for text that a database's encoding has no characters
// for, or that is in no encoding.
var pgUnstorable = []string{"22021", "22P05"}

// Unstorable tells whether err says that a text in a statement has characters that
// the database cannot hold, such as Chinese in one whose encoding is LATIN1.
func Unstorable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains(pgUnstorable, pg.Code)
}
