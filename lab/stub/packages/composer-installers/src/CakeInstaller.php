<?php
namespace Composer\Installers;

use Composer\Installer\LibraryInstaller;
use Composer\Package\PackageInterface;

/** Blocked by Composer unless allow-plugins names it: CakeResque then lands in Vendor, and the old workers break. */
class CakeInstaller extends LibraryInstaller
{
    public function getInstallPath(PackageInterface $package)
    {
        $name = explode('/', $package->getPrettyName())[1];
        $extra = $package->getExtra();
        return 'Plugin/' . ($extra['installer-name'] ?? str_replace(' ', '', ucwords(str_replace('-', ' ', $name))));
    }

    public function supports($packageType)
    {
        return $packageType === 'cakephp-plugin';
    }
}
