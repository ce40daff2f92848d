"""Eight weeks of a Roundcube installation: its program files, and its users' keyrings. Each run makes the same."""

import os
import shutil

from measure import quiet
from trees import regular_files

PVCS = ("html", "enigma")
WEEKS = tuple(f"2025-{number:02}" for number in range(8, 16))
WWW_DATA = (33, 33)


class Volumes:
    """The two volumes, as the mail client's pod has them mounted."""

    def __init__(self, fixtures, folder):
        self.fixtures = fixtures
        self.paths = {pvc: os.path.join(folder, pvc) for pvc in PVCS}
        for path in self.paths.values():
            os.makedirs(path)

    def html(self, *path):
        return os.path.join(self.paths["html"], *path)

    def enigma(self, *path):
        return os.path.join(self.paths["enigma"], *path)

    def install(self, version):
        """As a package manager does it: what the version does not have goes, but for what the site put there."""
        quiet(["rsync", "-aH", "--delete", "--exclude=/var/log/roundcube/*", "--exclude=/etc/roundcube/config.inc.php",
               f"{self.fixtures}/roundcube/{version}/", f"{self.paths['html']}/"])
        quiet(["chown", "-hR", "%d:%d" % WWW_DATA, self.html("var"), self.html("etc/roundcube")])

    def log(self, week, lines=4000):
        """What a week's users leave in the log."""
        path = self.html("var/log/roundcube/userlogins.log")
        with open(path, "a") as file:
            file.writelines(f"[{week}-{n:05}] Successful login for user{n * 7919 % 997}@example.org from 10.0.{n % 256}.1\n"
                            for n in range(lines))
        os.chown(path, *WWW_DATA)
        os.chmod(path, 0o640)

    def live_through(self, number, week):
        """What happens before the backup of a week, counted from 0."""
        if number == 0:
            self.install("old")
            config = self.html("etc/roundcube/config.inc.php")
            with open(config, "a") as file:
                file.write("<?php $config['des_key'] = 'rcmail-!24ByteDESkey*Str';\n")
            os.chmod(config, 0o640)
            os.chown(config, 0, WWW_DATA[1])
            quiet(["cp", "-a", f"{self.fixtures}/gnupg/.", self.paths["enigma"]])
        elif number == 1:
            self.append(self.html("etc/roundcube/config.inc.php"), "$config['plugins'] = ['enigma', 'archive'];\n")
        elif number == 3:
            self.install("new")
        elif number == 4:
            shutil.rmtree(self.html("usr/share/roundcube/plugins/acl"), ignore_errors=True)
            self.append(self.enigma("ben@example.org/pubring.kbx"), "another key")
        elif number == 5:
            quiet(["cp", "-a", self.enigma("chloe@example.org"), self.enigma("dora@example.org")])
        elif number == 6:
            for path in regular_files(self.html("usr/share/roundcube/plugins"))[::50]:
                self.append(path, "// mended here\n")
        elif number == 7:
            os.rename(self.html("var/log/roundcube/userlogins.log"), self.html("var/log/roundcube/userlogins.log.1"))
        self.log(week)
        quiet(["chown", "-hR", "%d:%d" % WWW_DATA, self.paths["enigma"]])

    @staticmethod
    def append(path, text):
        with open(path, "a") as file:
            file.write(text)
