#!/bin/sh
# Which volumes the metadata service has keys of. Read by the scripts beside it; in the initramfs it
# is /lib/mezame-lib.sh, and dracut's own functions read the kernel's command line.
#
#   /etc/crypttab      root UUID=… none luks,x-mezame.key=KEY
#   kernel             rd.luks.uuid=UUID rd.mezame.key=UUID=KEY

command -v getargs > /dev/null || . /lib/dracut-lib.sh

# Prints a line for each: its name under /dev/mapper, its device, its key's name, and crypttab's options
# (where it has none: a dash). The kernel's command line comes first, as it does to systemd.
mezame_volumes() {
    for word in $(getargs rd.mezame.key); do
        uuid=${word%%=*}
        uuid=${uuid#luks-}
        echo "$(mezame_name "$uuid") /dev/disk/by-uuid/$uuid ${word#*=} -"
    done
    mezame_crypttab | while read -r name device options; do
        case ",$options" in
        *,x-mezame.key=*)
            key=${options#*x-mezame.key=}
            echo "$name $device ${key%%,*} $options"
            ;;
        esac
    done
}

# The name of the volume with this UUID: by the kernel's command line, by crypttab, or else as both
# systemd and dracut call it.
mezame_name() {
    for word in $(getargs rd.luks.name); do
        if [ "${word%%=*}" = "$1" ]; then
            echo "${word#*=}"
            return
        fi
    done
    found=$(mezame_crypttab | while read -r name device _; do
        if [ "$device" = "/dev/disk/by-uuid/$1" ]; then
            echo "$name"
            break
        fi
    done)
    echo "${found:-luks-$1}"
}

# Prints crypttab's lines: name, device as a path, options.
mezame_crypttab() {
    [ -e /etc/crypttab ] && getargbool 1 rd.luks.crypttab || return 0
    while read -r name device _ options || [ -n "$name" ]; do
        case $name in
        '' | \#*) continue ;;
        esac
        case $device in
        UUID=*) device=/dev/disk/by-uuid/${device#*=} ;;
        PARTUUID=*) device=/dev/disk/by-partuuid/${device#*=} ;;
        LABEL=*) device=/dev/disk/by-label/${device#*=} ;;
        PARTLABEL=*) device=/dev/disk/by-partlabel/${device#*=} ;;
        ID=*) device=/dev/disk/by-id/${device#*=} ;;
        esac
        echo "$name $device ${options:--}"
    done < /etc/crypttab
}
