#!/bin/bash
# Typical of: a script alone, as most consoles' text fields get one.
set -eu
mkdir -p /srv/site
cat > /srv/site/index.html <<PAGE
<h1>$(hostname)</h1>
PAGE
id -un > /srv/site/user
pwd > /srv/site/directory
