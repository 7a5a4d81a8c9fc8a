#!/bin/sh
# The guest agent for systems with nothing but a shell: keys, passwords, host name, and the
# script, from Mezame's plain texts (/mezame/v1/…). It needs sh (POSIX.1-2008), the usual
# utilities, and one of curl, wget, fetch, ftp or nc. It never evaluates what it was told: names
# are checked against what they may hold, everything else is only written, and nothing secret is
# an argument of a program. Its files lie in a directory that only root enters, so that nobody can
# put one of another kind in their place. Whatever it changes, it changes at once or not at all.
#
#   guest-agent.sh run        configures the guest once
#   guest-agent.sh watch      the same again and again, every MEZAME_INTERVAL seconds
#   guest-agent.sh get PATH   prints what lies at /mezame/v1/PATH
#
# Exit status: 0 done; 1 a step failed (get: there is no such thing); 2 wrong usage; 3 no answer,
# or none that helps; 4 its own state can't be used, or another agent is running.
#
# Settings, from the environment:
#   MEZAME_ENDPOINT       http://169.254.169.254
#   MEZAME_DEFAULT_USER   root: whose the instance's own keys are
#   MEZAME_TIMEOUT        300: seconds to wait for the service; 0 for as long as it takes
#   MEZAME_INTERVAL       60: seconds between the runs of watch
#   MEZAME_SCRIPT_LIMIT   3600: seconds until a script is ended, where there is a timeout(1)
#   MEZAME_STATE          /var/lib/mezame-agent-sh, or on the BSDs /var/db/mezame-agent-sh
#   MEZAME_HANDLERS       /etc/mezame/handlers: programs for user-data that is no script

set -u
umask 077
IFS=' 	
'
LC_ALL=C
PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/pkg/sbin:/usr/pkg/bin:/usr/local/sbin:/usr/local/bin
export LC_ALL PATH
# The service is on the link: a proxy would be somebody else.
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY ENV CDPATH

VERSION='shell 1'
SYSTEM=$(uname -s)
ENDPOINT=${MEZAME_ENDPOINT:-http://169.254.169.254}
DEFAULT_USER=${MEZAME_DEFAULT_USER:-root}
HANDLERS=${MEZAME_HANDLERS:-/etc/mezame/handlers}
case $SYSTEM in
*BSD | DragonFly) STATE=${MEZAME_STATE:-/var/db/mezame-agent-sh} ;;
*) STATE=${MEZAME_STATE:-/var/lib/mezame-agent-sh} ;;
esac
# The longest answer that is read, in bytes: user-data has a mebibyte at most.
LONGEST=2097152
# The most accounts that are looked at.
ACCOUNTS=64
TOKEN=
CR=$(printf '\r')

say() {
	printf 'guest-agent: %s\n' "$*" >&2
}

# give_up STATUS WORD: ends the program.
give_up() {
	say "$2"
	exit "$1"
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# --- One request, by whatever program there is ---

# READER asks for what needs no header; WRITER can also send one, and other methods than GET.
choose_tools() {
	READER='' WRITER=''
	if have curl; then
		READER=curl WRITER=curl
	elif have wget; then
		case $(wget --version 2>/dev/null </dev/null) in
		*'GNU Wget'*) READER=gnu_wget WRITER=gnu_wget ;;
		*) READER=small_wget ;;
		esac
	elif have fetch; then
		READER=fetch
	elif have ftp; then
		READER=ftp
	fi
	# busybox's nc hangs up when its input ends, and a guest that hangs up wants no answer; others wait
	# for their input to end, and would wait for ever.
	NC_HANGS_UP=
	if have nc; then
		READER=${READER:-nc} WRITER=${WRITER:-nc}
		case $(nc --help 2>&1 </dev/null) in
		*BusyBox*) NC_HANGS_UP=yes ;;
		esac
	fi
	[ -n "$READER" ] || give_up 2 'no-tool: neither curl nor wget, fetch, ftp or nc is there'
	LIMIT=
	have timeout && LIMIT='timeout 30'
	return 0
}

# request TOOL METHOD PATH INTO [BODY]: one exchange. STATUS is that of the answer, 000 without
# one; true for those that begin with 2.
request() {
	STATUS=000
	rm -f "$4"
	: >"$4"
	: >"$WORK/said"
	"by_$1" "$2" "$ENDPOINT$3" "$4" "${5:-}"
	[ "$(($(wc -c <"$4")))" -le "$LONGEST" ] || STATUS=000
	case $STATUS in
	2??) return 0 ;;
	*) return 1 ;;
	esac
}

# note_status TEXT: takes the status out of a line such as "HTTP/1.1 404 Not Found".
note_status() {
	case $1 in
	*HTTP/1.[01]' '[1-5][0-9][0-9]*)
		code=${1##*HTTP/1.[01] }
		STATUS=${code%"${code#???}"}
		;;
	esac
}

# note_said ENDED: the same of all that a program said before it ended so. One that fails after a good
# status was cut off in the text.
note_said() {
	while IFS= read -r line || [ -n "$line" ]; do
		note_status "$line"
	done <"$WORK/said"
	case $1-$STATUS in
	0-*) ;;
	*-2??) STATUS=000 ;;
	esac
}

# The settings of curl and wget are files, so that a token is no argument.
by_curl() {
	{
		printf '%s\n' silent globoff 'noproxy = "*"' 'connect-timeout = 3' 'max-time = 30'
		[ -z "$TOKEN" ] || printf 'header = "X-aws-ec2-metadata-token: %s"\n' "$TOKEN"
		[ "$1" != PUT ] || printf 'header = "X-aws-ec2-metadata-token-ttl-seconds: 600"\n'
		[ -z "$4" ] || printf 'header = "Content-Type: application/json"\ndata-binary = "@%s"\n' "$4"
	} >"$WORK/curlrc"
	STATUS=$(curl -q -K "$WORK/curlrc" -X "$1" -o "$3" -w '%{http_code}' "$2" 2>"$WORK/said" </dev/null) ||
		STATUS=000
	case $STATUS in
	[1-5][0-9][0-9]) ;;
	*) STATUS=000 ;;
	esac
}

by_gnu_wget() {
	{
		printf 'header = Accept: */*\n'
		[ -z "$TOKEN" ] || printf 'header = X-aws-ec2-metadata-token: %s\n' "$TOKEN"
		[ "$1" != PUT ] || printf 'header = X-aws-ec2-metadata-token-ttl-seconds: 600\n'
		[ -z "$4" ] || printf 'header = Content-Type: application/json\n'
	} >"$WORK/wgetrc"
	url=$2
	set -- --method="$1" -O "$3" ${4:+"--body-file=$4"}
	WGETRC=$WORK/wgetrc wget -S -nv -t 1 -T 10 --no-proxy --max-redirect=0 "$@" "$url" \
		2>"$WORK/said" </dev/null
	note_said "$?"
}

# busybox's has no timeout of its own everywhere, knows GET and POST alone, and no file of settings.
by_small_wget() {
	if [ "$1" = POST ]; then
		$LIMIT wget -S -Y off -O "$3" --header 'Content-Type: application/json' \
			--post-data "$(cat "$4")" "$2" 2>"$WORK/said" </dev/null
	else
		$LIMIT wget -S -Y off -O "$3" "$2" 2>"$WORK/said" </dev/null
	fi
	note_said "$?"
}

# FreeBSD's says in words what went wrong (libfetch's http.errors).
by_fetch() {
	if fetch -q -T 10 -o "$3" "$2" 2>"$WORK/said" </dev/null; then
		STATUS=200
		return
	fi
	case $(cat "$WORK/said") in
	*'Not Found'*) STATUS=404 ;;
	*Unauthorized*) STATUS=401 ;;
	*Forbidden*) STATUS=403 ;;
	esac
}

# NetBSD's says "Error retrieving file `404 Not Found'", and "401 Unauthorized" where others look.
by_ftp() {
	if $LIMIT ftp -V -o "$3" "$2" >"$WORK/said" 2>&1 </dev/null; then
		STATUS=200
		return
	fi
	case " $(cat "$WORK/said") " in
	*[!0-9]404[!0-9]*) STATUS=404 ;;
	*[!0-9]401[!0-9]*) STATUS=401 ;;
	*[!0-9]403[!0-9]*) STATUS=403 ;;
	esac
}

# RFC 9112 with nothing but a connection; of HTTP/1.0, so that no answer is in chunks.
by_nc() {
	host=${2#http://}
	path=/${host#*/}
	host=${host%%/*}
	case $host in
	\[*\]) address=${host#?} address=${address%?} port=80 ;;
	\[*\]:*) address=${host#?} address=${address%%]*} port=${host##*:} ;;
	*:*) address=${host%:*} port=${host##*:} ;;
	*) address=$host port=80 ;;
	esac
	{
		cat <<END
$1 $path HTTP/1.0$CR
Host: $host$CR
Connection: close$CR
END
		[ -z "$TOKEN" ] || printf 'X-aws-ec2-metadata-token: %s\r\n' "$TOKEN"
		[ "$1" != PUT ] || printf 'X-aws-ec2-metadata-token-ttl-seconds: 600\r\n'
		[ -z "$4" ] ||
			printf 'Content-Type: application/json\r\nContent-Length: %d\r\n' "$(($(wc -c <"$4")))"
		printf '\r\n'
		[ -z "$4" ] || cat "$4"
	} >"$WORK/ask"
	if [ -n "$NC_HANGS_UP" ]; then
		# Its input must not end before the answer has come. What is asked fits into any pipe.
		rm -f "$WORK/pipe"
		mkfifo "$WORK/pipe" && exec 4<>"$WORK/pipe" || return
		$LIMIT cat "$WORK/ask" >&4
		$LIMIT nc -w 10 "$address" "$port" <&4 >"$WORK/answer" 2>"$WORK/said"
		exec 4>&-
	else
		$LIMIT nc -w 10 "$address" "$port" <"$WORK/ask" >"$WORK/answer" 2>"$WORK/said"
	fi
	length=
	{
		IFS= read -r line && note_status "$line"
		while IFS= read -r line && [ "$line" != "$CR" ]; do
			case $line in
			[Cc]ontent-[Ll]ength:*) length=$(printf '%s' "${line#*:}" | tr -cd '0-9') ;;
			esac
		done
		cat
	} <"$WORK/answer" >"$3"
	# It would not notice that it was cut off.
	[ "$length" = "$(($(wc -c <"$3")))" ] || [ "$STATUS" = 204 ] || STATUS=000
}

# --- The service ---

# A token where one can be had; with it everything is asked by the program that can send it.
take_token() {
	[ -n "$WRITER" ] || return 0
	TOKEN=
	request "$WRITER" PUT /latest/api/token "$WORK/token" || return 0
	IFS= read -r TOKEN <"$WORK/token" || :
	case $TOKEN in
	'' | *[!A-Za-z0-9+/=_.-]*) TOKEN= ;;
	*) READER=$WRITER ;;
	esac
}

# get PATH INTO: true if it is there, false if it is not. Whatever else comes is asked again a few
# times, and then ends the program.
get() {
	tries=0
	while ! request "$READER" GET "/mezame/v1/$1" "$2"; do
		tries=$((tries + 1))
		case $STATUS in
		404) return 1 ;;
		401) take_token ;;
		403) give_up 3 'endpoint-off: the service answers nothing to this guest' ;;
		esac
		[ "$tries" -lt 6 ] ||
			give_up 3 "no-answer: $1 brought status $STATUS; $READER said: $(plain "$(cat "$WORK/said")")"
		sleep 1
	done
}

# first_line PATH: the first line of what is there, in VALUE.
first_line() {
	VALUE=
	get "$1" "$WORK/line" || return 1
	IFS= read -r VALUE <"$WORK/line" || [ -n "$VALUE" ]
}

# Waits until the service knows this guest, and leaves the instance's id in INSTANCE.
await_service() {
	begin=$(date +%s)
	limit=${MEZAME_TIMEOUT:-300}
	while :; do
		take_token
		request "$READER" GET /mezame/v1/instance-id "$WORK/line" && break
		case $STATUS in
		401) [ -n "$WRITER" ] || give_up 3 "token-required: $READER can't ask for one; see docs/appliances.md" ;;
		403) give_up 3 'endpoint-off: the service answers nothing to this guest' ;;
		404) give_up 3 'no-document: the instance does not have the dialect mezame' ;;
		esac
		[ "$limit" -eq 0 ] || [ "$(($(date +%s) - begin))" -lt "$limit" ] ||
			give_up 3 "no-answer: the service can't be reached (status $STATUS)"
		sleep 1
	done
	IFS= read -r INSTANCE <"$WORK/line" || :
	case $INSTANCE in
	'' | -* | *[!A-Za-z0-9-]*) give_up 3 'bad-value: this is no instance id' ;;
	esac
	KEPT=$STATE/instances/$INSTANCE
	mkdir -p "$KEPT" || give_up 4 "state: $KEPT can't be made"
}

# --- What is done, and what is said of it ---

# plain TEXT: what may stand in a JSON string as it is, its first 300 characters.
plain() {
	printf '%.2000s' "$1" | tr '\n\t\042\134' '  |/' | tr -cd ' -~' | cut -c 1-300
}

# note STEP OUTCOME [REASON [DETAIL]]: the step is in the report.
note() {
	case $2 in
	failed) RESULT=failed ;;
	'done') [ "$RESULT" = failed ] || RESULT='done' ;;
	esac
	[ "$2" = unchanged ] || say "$1: $2${3:+, $3}${4:+: $4}"
	[ ! -s "$WORK/steps" ] || printf ',' >>"$WORK/steps"
	printf '{"step":"%s","outcome":"%s","reason":"%s","detail":"%s"}' \
		"$1" "$2" "${3:-}" "$(plain "${4:-}")" >>"$WORK/steps"
}

# replace FILE MODE LINE: the line is the whole file from now on, and whoever reads it meanwhile
# sees the old one or the new one. The directory must be root's alone. CHANGE says what came of it.
replace() {
	CHANGE=unchanged
	cat >"$WORK/new" <<END
$3
END
	if [ -f "$1" ] && cmp -s "$WORK/new" "$1"; then return 0; fi
	CHANGE=failed
	new=${1%/*}/.mezame-new
	rm -f "$new"
	(set -C && cat "$WORK/new" >"$new") && chmod "$2" "$new" && mv -f "$new" "$1" && CHANGE='done'
} 2>"$WORK/said"

# Now, and where the system looks for it at its next boot.
host_name() {
	first_line hostname || return 0
	case $VALUE in
	'' | [-.]* | *[!A-Za-z0-9.-]*) note hostname failed bad-value && return 0 ;;
	esac
	[ "${#VALUE}" -le 253 ] || { note hostname failed bad-value && return 0; }
	is=unchanged
	if [ "$(hostname)" != "$VALUE" ]; then
		is='done'
		hostname "$VALUE" 2>"$WORK/said" || is=failed
	fi
	case $SYSTEM in
	FreeBSD | DragonFly) keep_in_rc_conf hostname "$VALUE" ;;
	NetBSD | OpenBSD) replace /etc/myname 644 "$VALUE" ;;
	*) replace /etc/hostname 644 "$VALUE" ;;
	esac
	[ "$is" = failed ] || [ "$CHANGE" = unchanged ] || is=$CHANGE
	case $is in
	failed) note hostname failed tool-failed "$(cat "$WORK/said")" ;;
	*) note hostname "$is" ;;
	esac
}

keep_in_rc_conf() {
	CHANGE=unchanged
	[ "$(sysrc -n "$1" 2>/dev/null)" != "$2" ] || return 0
	CHANGE='done'
	sysrc "$1=$2" >/dev/null 2>"$WORK/said" || CHANGE=failed
}

# --- Accounts ---

# find_account NAME: HOME_OF, ID_OF and GROUP_OF of an account of this system.
find_account() {
	HOME_OF='' ID_OF='' GROUP_OF=''
	while IFS=: read -r name _ id group _ home _; do
		[ "$name" != "$1" ] || { HOME_OF=$home ID_OF=$id GROUP_OF=$group && return 0; }
	done </etc/passwd
	return 1
}

# make_account NAME SHELL: by the system's own tool.
make_account() {
	WHY='tool-failed'
	if have pw; then
		pw useradd -n "$1" -m ${2:+-s "$2"}
	elif have useradd; then
		useradd -m ${2:+-s "$2"} "$1"
	elif have adduser; then
		adduser -D ${2:+-s "$2"} "$1"
	else
		WHY='no-tool'
		printf 'neither pw nor useradd nor adduser is there\n' >&2
		return 1
	fi >/dev/null 2>"$WORK/said" </dev/null || return 1
	# Not locked, so that an SSH server without PAM lets its keys in; and no password is right.
	! have chpasswd || printf '%s:*\n' "$1" | chpasswd -e 2>"$WORK/said"
}

# is_roots DIRECTORY: it and all above it are directories that only root changes, and no links: nobody
# else can put another thing in their place while root works there.
is_roots() {
	place=$1
	while [ -n "$place" ]; do
		read -r mode _ owner _ <<END
$(ls -ldn "$place")
END
		case $mode:$owner in
		d????[!w]??[!w]*:0) ;;
		*) return 1 ;;
		esac
		place=${place%/*}
	done
}

# What a tool that was killed has not come to: the home, in a directory that is root's. True if it was
# made now.
make_home() {
	case $HOME_OF in
	/*/*) ;;
	*) return 1 ;;
	esac
	[ ! -e "$HOME_OF" ] && is_roots "${HOME_OF%/*}" && mkdir "$HOME_OF" &&
		chown -h "$ID_OF:$GROUP_OF" "$HOME_OF"
} 2>"$WORK/said"

# as_user NAME PROGRAM: a shell program with that user's rights, so that whatever the user has put
# into its way can lead it nowhere that the user could not go. PROGRAM is a text of this file. What
# the user has put there may have no end.
as_user() {
	case $SYSTEM in
	*BSD | DragonFly) SHELL=/bin/sh $LIMIT su -m "$1" -c "$2" ;;
	*) $LIMIT su -s /bin/sh "$1" -c "$2" ;;
	esac
}

# The agent's block in authorized_keys, as the big agent writes it. Comes in: the home, then the
# keys. Ends with 0 if the file was changed, 1 if it was so already. A block without an end is only
# its first line: what follows may be the user's.
# shellcheck disable=SC2016 # it is expanded by the shell that runs it
MERGE='
set -u
umask 077
IFS= read -r home && cd "$home" || exit 10
[ -d .ssh ] || mkdir .ssh || exit 11
old=.ssh/authorized_keys
[ -f "$old" ] || old=/dev/null
begin="# BEGIN mezame: managed by guest-agent, changes here are overwritten"
end="# END mezame"
nl="
"
rm -f .ssh/.mezame-new
{
	inside= held=
	while IFS= read -r line || [ -n "$line" ]; do
		if [ "$line" = "$begin" ]; then
			[ -z "$held" ] || printf "%s" "$held"
			inside=yes held=
		elif [ -n "$inside" ] && [ "$line" = "$end" ]; then
			inside= held=
		elif [ -n "$inside" ]; then
			held=$held$line$nl
		else
			printf "%s\n" "$line"
		fi
	done <"$old"
	[ -z "$held" ] || printf "%s" "$held"
	some=
	while IFS= read -r line; do
		[ -n "$some" ] || printf "%s\n" "$begin"
		some=yes
		printf "%s\n" "$line"
	done
	[ -z "$some" ] || printf "%s\n" "$end"
} >.ssh/.mezame-new || exit 12
if cmp -s .ssh/.mezame-new "$old"; then
	rm -f .ssh/.mezame-new
	exit 1
fi
chmod 600 .ssh/.mezame-new && mv -f .ssh/.mezame-new .ssh/authorized_keys || exit 13
exit 0
'

# key_lines PATH: those lines of what is there that can be keys.
key_lines() {
	get "$1" "$WORK/keys" || return 0
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		'' | '#'* | *"$CR"*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$WORK/keys" >>"$WORK/wanted"
}

# authorize NAME: exactly the keys that the seed gives NAME are in the agent's block. NAMED says
# whether it is one of the seed's users.
authorize() {
	find_account "$1" || { note "keys $1" failed no-such-user && return 0; }
	printf '%s\n' "$HOME_OF" >"$WORK/wanted"
	[ "$1" != "$DEFAULT_USER" ] || [ -n "$STOPPED" ] || key_lines ssh-keys
	[ -z "$NAMED" ] || key_lines "users/$1/ssh-keys"
	if [ "$ID_OF" = 0 ]; then
		/bin/sh -c "$MERGE" <"$WORK/wanted" 2>"$WORK/said"
	else
		as_user "$1" "$MERGE" <"$WORK/wanted" 2>"$WORK/said"
	fi
	case $? in
	0) note "keys $1" 'done' ;;
	1) note "keys $1" unchanged ;;
	*) note "keys $1" failed file "$(cat "$WORK/said")" ;;
	esac
}

# set_hash NAME HASH: the hash is no argument of any program, since those are seen by all.
set_hash() {
	WHY='tool-failed'
	if have pw; then
		pw usermod -n "$1" -H 0 2>"$WORK/said" <<END
$2
END
	elif have chpasswd; then
		chpasswd -e 2>"$WORK/said" <<END
$1:$2
END
	elif have pwd_mkdb; then
		edit_master_passwd "$1" "$2"
	else
		WHY='no-tool'
		printf 'neither pw nor chpasswd nor pwd_mkdb is there\n' >"$WORK/said"
		return 1
	fi
}

# As vipw(8) does: /etc/ptmp is the lock and the new file in one (pw_lock(3), pwd_mkdb(8)).
edit_master_passwd() {
	(set -C && : >/etc/ptmp) 2>"$WORK/said" || return 1
	PTMP=/etc/ptmp
	WHO=$1 HASH=$2 awk 'BEGIN { FS = OFS = ":" }
		$1 == ENVIRON["WHO"] { $2 = ENVIRON["HASH"] }
		{ print }' </etc/master.passwd >/etc/ptmp 2>"$WORK/said" &&
		pwd_mkdb -p /etc/ptmp 2>"$WORK/said"
	outcome=$?
	[ "$outcome" -eq 0 ] || rm -f /etc/ptmp
	PTMP=
	return "$outcome"
}

# password NAME: set once, and again when the seed has another one. What somebody has set in the
# guest meanwhile stays.
password() {
	first_line "users/$1/password-hash" || return 0
	case $VALUE in
	'' | *[!A-Za-z0-9./\$,=_+*-]*) note "password $1" failed bad-value && return 0 ;;
	esac
	was=
	[ ! -f "$KEPT/password-$1" ] || IFS= read -r was <"$KEPT/password-$1" || :
	if [ "$was" = "$VALUE" ]; then
		note "password $1" unchanged
	elif set_hash "$1" "$VALUE"; then
		replace "$KEPT/password-$1" 600 "$VALUE"
		note "password $1" 'done'
	else
		note "password $1" failed "$WHY" "$(cat "$WORK/said")"
	fi
	VALUE='' was=''
}

# account NAME: there, with its password and keys.
account() {
	case $1 in
	[a-z_]*) ;;
	*) note user failed bad-value && return 0 ;;
	esac
	case $1 in
	*[!a-z0-9_-]*) note user failed bad-value && return 0 ;;
	esac
	printf '%s\n' "$1" >>"$WORK/named"
	shell=
	if first_line "users/$1/shell"; then
		shell=$VALUE
		case $shell in
		[!/]* | *[!A-Za-z0-9/._-]*) note "user $1" failed bad-value && return 0 ;;
		esac
	fi
	if find_account "$1"; then
		if make_home; then note "user $1" 'done'; else note "user $1" unchanged; fi
	elif make_account "$1" "$shell"; then
		note "user $1" 'done'
	else
		note "user $1" failed "$WHY" "$(cat "$WORK/said")"
		return 0
	fi
	if first_line "users/$1/sudo" && [ "$VALUE" = true ]; then
		note "sudo $1" skipped unsupported
	fi
	# The service tells no keys and no hash of such a one; a password that is there stays.
	STOPPED=
	if first_line "users/$1/stopped" && [ "$VALUE" = true ]; then
		STOPPED=yes
		note "stop $1" skipped unsupported 'its keys are taken back, its password stays'
	fi
	if first_line "users/$1/groups"; then
		note "groups $1" skipped unsupported
	fi
	password "$1"
	NAMED=yes
	authorize "$1"
}

# All of them; and from those that were named once and are no more, the keys are taken back. An
# account is never deleted.
accounts() {
	get users/ "$WORK/users" || : >"$WORK/users"
	: >"$WORK/named"
	count=0
	while IFS= read -r user <&3; do
		count=$((count + 1))
		[ "$count" -le "$ACCOUNTS" ] || { note user skipped too-many && break; }
		account "${user%/}"
	done 3<"$WORK/users"
	NAMED='' STOPPED=''
	grep -qxF "$DEFAULT_USER" "$WORK/named" || authorize "$DEFAULT_USER"
	[ -f "$STATE/named" ] || : >"$STATE/named"
	while IFS= read -r user <&3; do
		grep -qxF "$user" "$WORK/named" || [ "$user" = "$DEFAULT_USER" ] || authorize "$user"
	done 3<"$STATE/named"
	mv -f "$WORK/named" "$STATE/named"
}

# --- User-data ---

# data WHICH: a script runs once; what names a handler of this image is given to it in each run.
data() {
	get "$1" "$WORK/$1" || return 0
	[ -s "$WORK/$1" ] || return 0
	first=
	IFS= read -r first <"$WORK/$1" 2>/dev/null || :
	case $first in
	'#!'*) script "$1" ;;
	'#'[a-z]*)
		kind=${first#?}
		kind=${kind%%[!a-z0-9-]*}
		if [ -x "$HANDLERS/$kind" ]; then handle "$kind" "$1"; else note "$1" skipped unsupported-format "$kind"; fi
		;;
	*) note "$1" skipped unsupported-format ;;
	esac
}

# script WHICH: what is done once is written down before it begins. If it is cut off, nobody knows
# how far it came: it is not run again.
script() {
	if [ -e "$KEPT/$1.started" ]; then
		if ! cmp -s "$WORK/$1" "$KEPT/$1"; then
			note "$1" skipped changed-after-run
		elif [ -e "$KEPT/$1.ended" ]; then
			note "$1" unchanged
		else
			note "$1" failed interrupted
		fi
		return 0
	fi
	cp "$WORK/$1" "$KEPT/$1" && chmod 700 "$KEPT/$1" && : >"$KEPT/$1.started" ||
		give_up 4 "state: $KEPT can't be written to"
	! have sync || sync
	limit=
	! have timeout || limit="timeout ${MEZAME_SCRIPT_LIMIT:-3600}"
	# shellcheck disable=SC2086 # two words, of this file's own
	(cd / && exec env -i PATH="$PATH" HOME=/root $limit "$KEPT/$1") >"$KEPT/$1.log" 2>&1 </dev/null
	outcome=$?
	printf '%d\n' "$outcome" >"$KEPT/$1.ended"
	! have sync || sync
	if [ "$outcome" -eq 0 ]; then
		note "$1" 'done'
	else
		note "$1" failed script-exit "status $outcome: $(tail -n 1 "$KEPT/$1.log")"
	fi
}

# handle KIND WHICH: the handler ends with 0 if it has changed something, with 10 if it was so
# already, and otherwise it says why last. That it has been asked is written down before.
handle() {
	printf '%s\n' "$1" >>"$WORK/kinds"
	[ -f "$STATE/kinds" ] || : >"$STATE/kinds"
	grep -qxF "$1" "$STATE/kinds" ||
		replace "$STATE/kinds" 600 "$(cat "$STATE/kinds" && printf '%s\n' "$1")"
	ask_handler "$1" "$WORK/$2"
}

# ask_handler KIND FILE: false if it failed.
ask_handler() {
	"$HANDLERS/$1" "$2" >"$WORK/handled" 2>&1 </dev/null
	case $? in
	0) note "$1" 'done' ;;
	10) note "$1" unchanged ;;
	*) note "$1" failed handler "$(tail -n 1 "$WORK/handled")" && return 1 ;;
	esac
}

# A handler of which nothing more is wanted gets an empty file: what it has made of the last one goes.
# One that fails is asked again in the next run.
retire_handlers() {
	[ -s "$STATE/kinds" ] || return 0
	: >"$WORK/empty"
	while IFS= read -r kind <&3; do
		grep -qxF "$kind" "$WORK/kinds" || [ ! -x "$HANDLERS/$kind" ] ||
			ask_handler "$kind" "$WORK/empty" || printf '%s\n' "$kind" >>"$WORK/kinds"
	done 3<"$STATE/kinds"
	if [ -s "$WORK/kinds" ]; then
		replace "$STATE/kinds" 600 "$(cat "$WORK/kinds")"
	else
		rm -f "$STATE/kinds"
	fi
}

# --- The report ---

boot_id() {
	BOOT=
	if [ -r /proc/sys/kernel/random/boot_id ]; then
		IFS= read -r BOOT </proc/sys/kernel/random/boot_id
	else
		BOOT=$(sysctl -n kern.boottime 2>/dev/null | tr -cd '0-9')
	fi
}

host_keys() {
	some=
	for file in /etc/ssh/ssh_host_*_key.pub; do
		[ -f "$file" ] && read -r kind key _ <"$file" || continue
		case $kind$key in
		'' | *[!A-Za-z0-9+/=@.-]*) continue ;;
		esac
		printf '%s{"public_key":"%s %s"}' "$some" "$kind" "$key"
		some=,
	done
}

# A script may have taken longer than a token lives.
send_report() {
	request "$1" POST /mezame/v1/report "$WORK/reply" "$WORK/report" && return 0
	[ "$STATUS" = 401 ] || return 1
	take_token
	request "$1" POST /mezame/v1/report "$WORK/reply" "$WORK/report"
}

# Says what was done, unless the same was said in this boot.
report() {
	run=0
	if [ -f "$STATE/runs" ]; then
		read -r boot number <"$STATE/runs" || :
		case ${boot:-}:${number:-} in
		"$BOOT":*[!0-9]* | "$BOOT":) ;;
		"$BOOT":*) run=$number ;;
		esac
	fi
	if [ "$run" -gt 0 ] && [ "$RESULT" != 'done' ] && cmp -s "$WORK/steps" "$KEPT/steps"; then
		return 0
	fi
	run=$((run + 1))
	{
		printf '{"instance_id":"%s","agent":"%s","boot_id":"%s","run":%d,"outcome":"%s","steps":[' \
			"$INSTANCE" "$VERSION" "$BOOT" "$run" "$RESULT"
		cat "$WORK/steps"
		printf '],"host_keys":['
		host_keys
		printf ']}'
	} >"$WORK/report"
	tool=$WRITER
	[ -n "$tool" ] || [ "$READER" != small_wget ] || tool=small_wget
	if [ -z "$tool" ]; then
		say "no-tool: $READER can't send the report; see $KEPT/steps"
	elif ! send_report "$tool"; then
		say "the report was not taken (status $STATUS)"
		return 0
	fi
	cp "$WORK/steps" "$KEPT/steps"
	replace "$STATE/runs" 600 "$BOOT $run"
}

# --- The whole ---

# Only one agent at a time. The lock is a hard link, which is made at once or not at all; one that
# a killed agent has left names a process that is no more, or another boot.
lock() {
	boot_id
	printf '%d %s\n' "$$" "$BOOT" >"$WORK/pid"
	ln "$WORK/pid" "$STATE/lock" && return 0
	holder=
	IFS= read -r holder <"$STATE/lock" || :
	if [ "${holder#* }" = "$BOOT" ]; then
		case ${holder%% *} in
		'' | "$$" | *[!0-9]*) ;;
		*) ! kill -s 0 "${holder%% *}" || return 1 ;;
		esac
	fi
	mv -f "$STATE/lock" "$WORK/old-lock" || return 1
	now=
	IFS= read -r now <"$WORK/old-lock" || :
	# Another agent was faster, and this is its lock.
	[ "$now" = "$holder" ] || { ln "$WORK/old-lock" "$STATE/lock" && return 1; }
	ln "$WORK/pid" "$STATE/lock"
} 2>/dev/null

# What killed agents have left behind.
sweep() {
	for old in "$STATE"/work.*; do
		[ -d "$old" ] && [ "$old" != "$WORK" ] || continue
		kill -s 0 "${old##*.}" 2>/dev/null || rm -rf "$old"
	done
}

leave() {
	[ -z "$PTMP" ] || rm -f "$PTMP"
	[ -z "$LOCKED" ] || rm -f "$STATE/lock"
	rm -rf "$WORK"
}

begin() {
	PTMP='' LOCKED=''
	[ "$(id -u)" = 0 ] || give_up 4 'state: root is needed'
	mkdir -p "$STATE" && chmod 700 "$STATE" || give_up 4 "state: $STATE can't be made"
	WORK=$STATE/work.$$
	rm -rf "$WORK"
	trap leave EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	mkdir "$WORK" || give_up 4 "state: $WORK can't be made"
	# Some shells keep the texts that they hand to a program in files.
	TMPDIR=$WORK
	export TMPDIR
	choose_tools
}

configure() {
	RESULT=unchanged
	: >"$WORK/steps"
	await_service
	host_name
	accounts
	: >"$WORK/kinds"
	data vendor-data
	data user-data
	retire_handlers
	report
	[ "$RESULT" != failed ]
}

case ${1:-} in
run | watch)
	[ "$#" -eq 1 ] || give_up 2 "usage: $0 run | watch | get PATH"
	begin
	lock || give_up 4 'already-running: another agent has the lock'
	LOCKED=yes
	sweep
	if [ "$1" = run ]; then
		configure
		exit
	fi
	while :; do
		# Of its own, so that what ends one run does not end the watch.
		(trap - EXIT && configure)
		sleep "${MEZAME_INTERVAL:-60}"
	done
	;;
get)
	[ "$#" -eq 2 ] || give_up 2 "usage: $0 run | watch | get PATH"
	begin
	await_service
	get "$2" "$WORK/answer-to-get" || exit 1
	cat "$WORK/answer-to-get"
	;;
*) give_up 2 "usage: $0 run | watch | get PATH" ;;
esac
