"""How sure a size is: the bet to take, the law's misfit, and the runs to buy next."""
