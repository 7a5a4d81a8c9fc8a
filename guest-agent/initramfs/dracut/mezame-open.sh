#!/bin/sh
# In an initramfs without systemd: opens a volume with its key, before dracut's cryptroot-ask would
# ask the console, and has it asked where no key came. The key goes through a pipe. Started by
# 69-mezame.rules for every LUKS volume; does nothing for one that is not marked.
#
#   mezame-open DEVICE UUID

. /lib/mezame-lib.sh

# What crypttab(5) and dracut.cmdline(7) say of how to open a volume, in cryptsetup's words.
flags() {
    if getargbool 0 rd.luks.allow-discards; then
        echo --allow-discards
    fi
    for word in $(getargs rd.luks.allow-discards); do
        [ "${word#luks-}" != "$uuid" ] || echo --allow-discards
    done
    IFS=,
    for option in $1; do
        case $option in
        discard | allow-discards) echo --allow-discards ;;
        same-cpu-crypt) echo --perf-same_cpu_crypt ;;
        submit-from-crypt-cpus) echo --perf-submit_from_crypt_cpus ;;
        no-read-workqueue) echo --perf-no_read_workqueue ;;
        no-write-workqueue) echo --perf-no_write_workqueue ;;
        header=*) echo "--$option" ;;
        esac
    done
    unset IFS
}

open() {
    [ ! -b "/dev/mapper/$name" ] || return 0
    [ -d /sys/module/dm_crypt ] || modprobe dm_crypt
    # shellcheck disable=SC2046
    if guest-agent unlock --volume "$key" --device "$device" < /dev/null |
        cryptsetup open --type luks --key-file - $(flags "$options") "$device" "$name"; then
        need_shutdown
        udevsettle
    else
        cryptroot-ask "$device" "$name" 0
    fi
}

getargbool 1 rd.luks || exit 0
device=$(readlink -f "$1")
uuid=$2
mezame_volumes | while read -r name path key options; do
    [ "$(readlink -f "$path")" = "$device" ] || continue
    # The loop's input is its list, and who is asked is at the console.
    open < /dev/console
    # Of two lines for one volume the first counts.
    exit
done
