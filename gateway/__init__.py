"""What every process agrees on: settings, errors, money, catalogue, wire shapes, the credit window, accounts, tables."""
