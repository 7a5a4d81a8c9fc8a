#cloud-boothook
#!/bin/sh
# Typical of: what must be there before everything else.
echo "options single-request" > /etc/early.conf
