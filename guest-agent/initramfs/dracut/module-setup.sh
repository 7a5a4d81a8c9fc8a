#!/bin/bash
# dracut.modules(7): puts the guest agent into the initramfs, so that it can ask for volumes' keys. To
# be installed with the files beside it as /usr/lib/dracut/modules.d/91mezame, mode 0755: behind
# dracut's own "crypt", which brings what opens a volume and writes the initramfs's /etc/crypttab.

# shellcheck disable=SC2154 # dracut says where things are: moddir, initdir, hostonly

# called by dracut: whoever has put the module there wants it.
check() {
    require_binaries cryptsetup || return 1
    command -v guest-agent > /dev/null || {
        derror "mezame: guest-agent is not installed; no volume would be unlocked"
        return 1
    }
}

# called by dracut
depends() {
    echo crypt
}

# called by dracut: what a machine under QEMU can have as its network card, what the agent speaks
# through it, and the ciphers that LUKS has unless told. An image that is made elsewhere knows of
# none of them.
installkernel() {
    hostonly='' instmods virtio_pci virtio_net e1000 e1000e igb vmxnet3 8139cp af_packet ipv6
    hostonly='' instmods virtio_blk virtio_scsi dm_crypt algif_skcipher algif_hash \
        crypto-aes crypto-xts crypto-ecb crypto-cbc crypto-essiv crypto-sha256 crypto-sha512
}

# called by dracut
install() {
    local name device file options units
    inst_binary "$(command -v guest-agent)" /usr/bin/guest-agent
    inst_multiple cryptsetup chmod mkdir mv readlink rm sleep
    inst_multiple -o /etc/mezame/guest-agent.yaml
    inst_simple "$moddir/mezame-lib.sh" /lib/mezame-lib.sh

    # The volumes that are marked, which dracut leaves out where it does not know of this machine's
    # disks, or does not see them.
    if [[ -f ${dracutsysrootdir-}/etc/crypttab ]]; then
        while read -r name device file options || [[ $name ]]; do
            [[ $name != \#* && ",$options" == *,x-mezame.key=* ]] || continue
            grep -qs "^${name}[[:space:]]" "$initdir/etc/crypttab" && continue
            echo "$name $device $file $options" >> "$initdir/etc/crypttab"
        done < "${dracutsysrootdir-}/etc/crypttab"
    fi

    if dracut_module_included "systemd"; then
        units=${systemdsystemunitdir:-/usr/lib/systemd/system}
        inst_script "$moddir/mezame-unlock.sh" /sbin/mezame-unlock
        inst_simple "$moddir/mezame-unlock@.service" "$units/mezame-unlock@.service"
        inst_simple "$moddir/systemd-cryptsetup.conf" \
            "$units/systemd-cryptsetup@.service.d/50-mezame.conf"
    else
        inst_multiple modprobe
        inst_script "$moddir/mezame-open.sh" /sbin/mezame-open
        inst_simple "$moddir/69-mezame.rules" /etc/udev/rules.d/69-mezame.rules
    fi
    dracut_need_initqueue
}
