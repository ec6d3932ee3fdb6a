# Lets the holders of $tenant, and no other tenant, log in to this account. It is
# POSIX and needs nothing but what every system has. The braces make the shell
# read all of it before it does anything, in case the connection breaks.
{
set -e
LC_ALL=C
export LC_ALL
umask 077
separator='### DUFFY tenant credentials'

cd "${HOME:?}"
[ -d .ssh ] || mkdir .ssh
file=.ssh/authorized_keys
if [ -L "$file" ]; then
	[ -e "$file" ] && file=$(readlink -f "$file") || {
		echo '~/.ssh/authorized_keys is a symbolic link to nowhere' >&2
		exit 1
	}
fi
[ -e "$file" ] || : >"$file"

lines=$(
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		*"$separator"*) break ;;
		esac
		printf '%s\n' "$line"
	done <"$file"
	[ -z "$tenant" ] || printf '%s\n' "$separator" "$tenant"
)

# The file is replaced in one step: logins never meet half a file, and a full
# disk costs nobody their access. That it is full is left to cat to tell, since
# the printf of some shells does not.
new=$file.duffy.$$
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT PIPE TERM
cp -a "$file" "$new" # for its mode, owner and security context
cat >"$new" <<END
$lines
END
mv -f "$new" "$file"
trap - EXIT
exit 0
}
