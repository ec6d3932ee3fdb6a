# Lets the holders of $tenant, and no other tenant, log in to this account, or
# changes nothing if $inspect is set. Then it prints what else is in authorized_keys,
# and by $proof and $nonce that it came so far: these stand nowhere in the order in
# which they are printed, so that what only repeats its input proves nothing. It is
# POSIX and needs nothing but what every system has. The braces make the shell
# read all of it before it does anything, in case the connection breaks.
{
set -ef
LC_ALL=C
export LC_ALL
umask 077
separator='### DUFFY tenant credentials'

refuse() {
	printf '%s %s\n' "$keys" "$*" >&2
	exit 1
}

# Links are followed within the home directory: nothing else is read or written,
# whoever made the link. A file that an operator says is elsewhere may be a link
# within its directory.
home=$(cd "${HOME:?}" && pwd -P)
home=${home%/}
cd "$home/"
case $keys in
"$HOME"/*) file=./${keys#"$HOME"/} ;;
/*) file=$keys ;;
*) file=./$keys ;;
esac
dir=${file%/*}
case $file in
/*) [ -d "$dir/" ] || [ -n "$inspect" ] || refuse 'is in a directory that is not there' ;;
*) [ -d "$dir" ] || [ -n "$inspect" ] || mkdir "$dir" ;;
esac
within=$home where='the home directory'
if [ -d "$dir/" ]; then
	real=$(cd "$dir/" && pwd -P)
	real=${real%/}
	case $file in
	/*) within=$real where=$real ;;
	*) case $real/ in "$home"/*) ;; *) refuse "is not in the home directory but in $real" ;; esac ;;
	esac
	file=$real/${file##*/}
fi
if [ -L "$file" ]; then
	file=$(readlink -f "$file") && [ -e "$file" ] || refuse 'is a symbolic link to nowhere'
	case $file in "$within"/*) ;; *) refuse "is a symbolic link out of $where: $file" ;; esac
	set -- $(ls -lnd "$file")
	[ "$3" = "$(id -u)" ] || refuse "is a symbolic link to a file of another user: $file"
fi
if [ -e "$file" ]; then
	[ -f "$file" ] || refuse 'is not a regular file'
	set -- $(ls -lnd "$file")
	[ "$5" -le 1048576 ] || refuse "has $5 bytes, more than 1 MiB"
elif [ -z "$inspect" ]; then
	: >"$file"
fi

others=
if [ -e "$file" ]; then
	others=$(
		while IFS= read -r line || [ -n "$line" ]; do
			case $line in
			*"$separator"*) break ;;
			esac
			printf '%s\n' "$line"
		done <"$file"
	)
fi

# The file is replaced in one step: logins never meet half a file, and a full
# disk costs nobody their access. That it is full is left to cat to tell, since
# the printf of some shells does not. Nobody can know the name of the new file.
if [ -z "$inspect" ]; then
	lines=$others
	[ -z "$tenant" ] || lines="${others:+$others
}$separator
$tenant"
	new=$file.duffy.$nonce
	replaced=
	if [ -w "${file%/*}/" ]; then
		trap 'rm -f "$new"' EXIT
		trap 'exit 1' HUP INT PIPE TERM
		cp -a "$file" "$new" # for its mode, owner and security context
		[ -f "$new" ] && [ ! -L "$new" ] || refuse 'changes while it is read'
		cat >"$new" <<END
$lines
END
		if mv -f "$new" "$file" 2>/dev/null; then replaced=yes; else rm -f "$new"; fi
		trap - EXIT
	fi

	# One that is mounted, or in a directory of somebody else, cannot be replaced.
	# It begins as before, and does so again if it cannot get longer.
	if [ -z "$replaced" ]; then
		overwrite() {
			cat >"$file" <<END
$1
END
		}
		overwrite "$lines" || { overwrite "$others"; exit 1; }
	fi
	[ -f "$file" ] && [ "$(cat "$file")" = "$lines" ] || refuse 'is not what was written to it'
fi

if [ ${#others} -le 49152 ]; then
	printf '\n%s%s has\n%s\n' "$nonce" "$proof" "$others"
else
	printf '\n%s%s has too much\n' "$nonce" "$proof"
fi
printf '%s%s ends\n' "$nonce" "$proof"
exit 0
}
