"""What was measured, as JSON; each part can be measured anew without the others."""

import datetime
import json
import os

import install


class Results:
    def __init__(self, path):
        self.path = path
        self.data = {"machine": {}, "versions": {}, "absent": [], "measured": {}}
        if os.path.exists(path):
            with open(path) as file:
                self.data.update(json.load(file))

    def about(self, tools, absent):
        self.data["machine"] = install.machine()
        self.data["versions"].update({tool.name: tool.version() for tool in tools})
        self.data["absent"] = absent
        self.save()

    def put(self, part, result, **about):
        """Takes the result of a part; in parts by tool those of other tools stay."""
        if part == "steps" and part in self.data:
            for group in ("tools", "stores", "notes"):
                for tool, values in result[group].items():
                    if group != "tools":
                        self.data[part][group][tool] = values
                    else:
                        self.data[part][group].setdefault(tool, {}).update(values)
            self.data[part]["floors"].update(result["floors"])
            self.data[part]["tree"] = result["tree"]
        elif part in ("operations", "latency"):
            self.data.setdefault(part, {}).update(result)
        else:
            self.data[part] = result
        day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        self.data["measured"][part] = {"day": day, "commit": install.commit(), **about}
        self.save()

    def save(self):
        with open(self.path + ".new", "w") as file:
            json.dump(self.data, file, indent=1, sort_keys=True)
            file.write("\n")
        os.rename(self.path + ".new", self.path)
