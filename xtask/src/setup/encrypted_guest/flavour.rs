//! In what the Debian guests with an encrypted root differ: who makes their initramfs, and which
//! version of LUKS they have.

/// A guest's recipe.
pub(super) struct Flavour {
    /// Its directory in the cache.
    pub(super) name: &'static str,
    /// For the person whose machine it is built on.
    pub(super) title: &'static str,
    /// Its directory under `images/recipes`, where its `packages` are.
    pub(super) recipe: &'static str,
    /// The root's size.
    pub(super) size: &'static str,
    /// Where the recipes' files, and the agent's own, go: from, to, mode.
    pub(super) files: &'static [(&'static str, &'static str, &'static str)],
    /// mmdebstrap's hook that puts them there: `essential` is before the packages, so that the
    /// initramfs that these make has them; `customize` is after them.
    pub(super) hook: &'static str,
    /// What is run in the root after all.
    pub(super) make: &'static [&'static str],
    /// What is taken out of `/boot`: the beginning of its name there, and its name in the cache.
    pub(super) boot: &'static [(&'static str, &'static str)],
    /// The volume's UUID if it is LUKS2; without, it is LUKS1 and has the one that QEMU gave it.
    pub(super) luks2: Option<&'static str>,
}

/// A file of the agent's module for dracut.
macro_rules! module {
    ($name:literal, $mode:literal) => {
        (
            concat!("guest-agent/initramfs/dracut/", $name),
            concat!("usr/lib/dracut/modules.d/91mezame/", $name),
            $mode,
        )
    };
}

/// All that are built.
pub(super) const FLAVOURS: [Flavour; 2] = [
    Flavour {
        name: "encrypted-guest",
        title: "guest with an encrypted root",
        recipe: "images/recipes/encrypted",
        size: "900M",
        files: &[
            ("images/recipes/encrypted/crypttab", "etc/crypttab", "0644"),
            ("images/recipes/encrypted/fstab", "etc/fstab", "0644"),
            ("images/recipes/encrypted/tell", "usr/local/sbin/tell", "0755"),
            (
                "guest-agent/initramfs/initramfs-tools/hook",
                "etc/initramfs-tools/hooks/mezame",
                "0755",
            ),
            (
                "guest-agent/initramfs/initramfs-tools/keyscript",
                "lib/cryptsetup/scripts/mezame",
                "0755",
            ),
        ],
        hook: "customize",
        make: &["update-initramfs -u -k all"],
        boot: &[("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")],
        luks2: None,
    },
    Flavour {
        name: "encrypted-dracut",
        title: "guest with an encrypted root, by dracut",
        recipe: "images/recipes/encrypted-dracut",
        size: "700M",
        files: &[
            ("images/recipes/encrypted-dracut/crypttab", "etc/crypttab", "0644"),
            (
                "images/recipes/encrypted-dracut/dracut.conf",
                "etc/dracut.conf.d/50-guest.conf",
                "0644",
            ),
            ("images/recipes/encrypted-dracut/left", "usr/local/sbin/left", "0755"),
            ("images/recipes/encrypted/fstab", "etc/fstab", "0644"),
            ("images/recipes/encrypted/tell", "usr/local/sbin/tell", "0755"),
            module!("module-setup.sh", "0755"),
            module!("mezame-lib.sh", "0755"),
            module!("mezame-unlock.sh", "0755"),
            module!("mezame-open.sh", "0755"),
            module!("mezame-unlock@.service", "0644"),
            module!("systemd-cryptsetup.conf", "0644"),
            module!("69-mezame.rules", "0644"),
        ],
        hook: "essential",
        make: &[
            "sh -euc 'dracut --force --kver $(ls /lib/modules) --omit systemd /boot/without-systemd'",
        ],
        boot: &[
            ("vmlinuz", "vmlinuz"),
            ("initrd.img", "initrd.img"),
            ("without-systemd", "initrd-without-systemd.img"),
        ],
        luks2: Some("6d657a61-6d65-4c55-8b53-000000000002"),
    },
];
