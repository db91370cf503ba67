// Ctrl-C and termination as a flag that long loops look at.
#pragma once

namespace subquad {

void install_interrupt_handler();  // SIGINT and SIGTERM set the flag; a second SIGINT ends the
                                   // process
bool interrupted();

}  // namespace subquad
