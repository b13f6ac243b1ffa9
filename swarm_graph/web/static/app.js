// The page of swarm-graph ui: everything can be read without this file.
"use strict";
