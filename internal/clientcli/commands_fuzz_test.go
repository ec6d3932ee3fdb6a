package clientcli

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzNodesSpec has what is taken be the same when it is written anew.
func FuzzNodesSpec(f *testing.F) {
	for _, seed := range []string{
		"pool=p,quantity=1", "quantity=2,pool=a=b", "pool=p", "pool=p,quantity=0", "pool=p,quantity= 3 ", "pool=p,pool=q,quantity=1", "pool=,quantity=1",
		"pool=p,quantity=99999999999", "pool=p,quantity=1,", "", "=,=", "Pool=p,quantity=1", "pool=p,quantity=+1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var spec, again nodesSpec
		if err := spec.UnmarshalText([]byte(text)); err != nil {
			require.Contains(t, err.Error(), fmt.Sprintf("%q", text), "which of the arguments it is")
			require.Zero(t, spec)
			return
		}
		require.NotEmpty(t, spec.Pool)
		require.Positive(t, spec.Quantity)
		require.NoError(t, again.UnmarshalText(fmt.Appendf(nil, "quantity=%d,pool=%s", spec.Quantity, spec.Pool)))
		require.Equal(t, spec, again)
	})
}
