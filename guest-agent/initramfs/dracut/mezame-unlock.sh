#!/bin/sh
# In an initramfs with systemd: gets a volume's key for systemd-cryptsetup, which looks for it in
# /run/cryptsetup-keys.d (crypttab(5)). That is memory, never a disk. Started by
# mezame-unlock@.service for every volume that is opened; does nothing for one that is not marked.
#
#   mezame-unlock NAME            puts the key there, or says why there is none
#   mezame-unlock --forget NAME   removes it, once the volume is open or can't be opened

. /lib/mezame-lib.sh

keys=/run/cryptsetup-keys.d
# For how many seconds the volume's device is waited for.
patience=90

get() {
    tries=0
    until [ -b "$device" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt "$patience" ]; then
            echo "mezame: no key is asked for: $device has not come in $patience s" >&2
            return 1
        fi
        sleep 1
    done
    umask 077
    mkdir -p "$keys"
    if guest-agent unlock --volume "$key" --device "$device" < /dev/null > "$keys/$name.part"; then
        mv -f "$keys/$name.part" "$keys/$name.key"
    else
        rm -f "$keys/$name.part"
        return 1
    fi
}

verb="get"
if [ "$1" = --forget ]; then
    verb="forget"
    shift
fi
mezame_volumes | while read -r name device key _; do
    [ "$name" = "$1" ] || continue
    case $verb in
    get) get ;;
    forget) rm -f "$keys/$name.key" "$keys/$name.part" ;;
    esac
    # Of two lines for one volume the first counts.
    exit
done
