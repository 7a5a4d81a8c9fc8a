#!/bin/sh
# A repository of three small packages on the root's own disk, as the only one. tiny-base is
# installed in an older version than the repository has.
set -eu
directory=/var/cache/repository
mkdir -p "$directory"
package() { # NAME VERSION
    tree=/tmp/tree
    rm -rf "$tree"
    mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/etc"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a test\n' \
        "$1" "$2" > "$tree/DEBIAN/control"
    printf '/etc/%s.conf\n' "$1" > "$tree/DEBIAN/conffiles"
    printf 'as packaged\n' > "$tree/etc/$1.conf"
    printf '#!/bin/sh\necho %s %s\n' "$1" "$2" > "$tree/usr/bin/$1"
    chmod 755 "$tree/usr/bin/$1"
    dpkg-deb --root-owner-group --build "$tree" "$directory/$1_$2.deb" > /dev/null
}
package tiny-base 1.0
dpkg --install "$directory/tiny-base_1.0.deb" > /dev/null
rm "$directory/tiny-base_1.0.deb"
package tiny-base 2.0
package tiny-web 1.0
package tiny-tool 1.0
package tiny-tool 2.0
cd "$directory"
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
        "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d' ' -f1)"
done > Packages
echo "deb [trusted=yes] file:$directory ./" > /etc/apt/sources.list
